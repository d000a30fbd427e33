"""Images of clothes on textured backgrounds, with the exact box of every object.

Legend: S is the side of the (square) image in pixels. Grey images are (H, W), colour images (H, W, 3). Alpha is either
0 or clearly above it, so a pixel belongs to an object exactly if its alpha is not 0.
"""

import colorsys
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Grey = npt.NDArray[np.uint8]
Alpha = npt.NDArray[np.float32]
Colour = npt.NDArray[np.float32]
Canvas = npt.NDArray[np.float32]

ASSET = Path(__file__).parents[1] / "assets" / "fashion-mnist-cutouts.npz"
REFERENCE_SIZE = 128
"""Image side in pixels that the sizes below refer to; they scale with the image."""
OBJECT_SIZES = (20.0, 64.0)
"""Longest side of an object in pixels: the minimum, and the maximum, which is the most likely value."""
MAX_OBJECTS = 6
MAX_CLUTTER = 2
BACKGROUND_SHARE = 0.08
"""Share of images without any object."""
MIN_VISIBLE = 0.7
"""Share of an object's pixels that must stay visible under the objects drawn over it."""
VAL_SHARE = 0.2
"""Share of the cut-outs of each class reserved for the validation split."""

_NOT_EMPTY = 12  # the photos' black contains a little noise
_PLACEMENT_TRIES = 20
_MIN_CONTRAST = 100.0  # distance in RGB; the maximum is 441
_NOBODY = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Cutouts:
    """Grey product photos on black."""

    names: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    """Pixels, (classes, photos, 28, 28)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Cut-out that an object or a piece of clutter was made from."""

    class_id: int
    index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """Smallest rectangle around the visible pixels of an object; right and bottom are exclusive."""

    source: Source
    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One image and its ground truth."""

    pixels: npt.NDArray[np.uint8]
    """Pixels, (S, S, 3), RGB."""
    owners: npt.NDArray[np.int8]
    """Index in `boxes` of the object visible at each pixel, (S, S); -1 if there is none."""
    boxes: tuple[Box, ...]
    clutter: tuple[Source, ...]
    """Cut-outs that the pieces of clutter were scrambled from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sprite:
    """Element to paste on the canvas, trimmed to its own bounds."""

    colour: Colour
    alpha: Alpha


@cache
def load_cutouts() -> Cutouts:
    """Return the cut-outs that ship with the product, loaded once per process."""
    with np.load(ASSET, allow_pickle=False) as archive:
        names, images = tuple(str(name) for name in archive["names"]), archive["images"]
    return Cutouts(names=names, images=images.reshape(len(names), -1, 28, 28))


def split_sources(cutouts: Cutouts, *, seed: int) -> Mapping[str, npt.NDArray[np.int64]]:
    """Return each split's cut-out indices, (classes, photos of the split); no photo is in both splits."""
    num_classes, num_photos = cutouts.images.shape[:2]
    rng = np.random.default_rng([seed, 0])
    order = np.stack([rng.permutation(num_photos) for _ in range(num_classes)])
    num_val = round(num_photos * VAL_SHARE)
    return {"train": order[:, num_val:], "val": order[:, :num_val]}


def draw_scene(cutouts: Cutouts, sources: npt.NDArray[np.int64], rng: np.random.Generator, *, image_size: int) -> Scene:
    """Draw one scene: background, then clutter, then objects, each over the previous ones.

    Args:
        cutouts: All the photos.
        sources: Indices that this scene may use, (classes, photos).
        rng: Generator of this scene alone; everything random comes from it.
        image_size: S.
    """
    scale = image_size / REFERENCE_SIZE
    canvas, ground = _ground(rng, image_size)
    clutter = _add_clutter(canvas, cutouts, sources, rng, ground=ground, scale=scale)
    is_background = rng.random() < BACKGROUND_SHARE
    num_objects = 0 if is_background else int(rng.integers(1, MAX_OBJECTS + 1))
    owners = np.full((image_size, image_size), _NOBODY, dtype=np.int8)
    placed: list[Source] = []
    areas: list[int] = []
    for _ in range(num_objects):
        source = _any_source(sources, rng)
        sprite = _object_sprite(cutouts, source, rng, ground=ground, scale=scale)
        corner = _free_corner(owners, areas, sprite.alpha, rng)
        if corner is None:
            continue  # too crowded already
        _paste(canvas, sprite, corner)
        owners[_window(corner, sprite.alpha)][sprite.alpha > 0] = len(placed)
        placed.append(source)
        areas.append(int(np.count_nonzero(sprite.alpha)))
    canvas += rng.normal(0.0, rng.uniform(0.0, 3.0), canvas.shape).astype(np.float32)
    return Scene(
        pixels=np.clip(np.rint(canvas), 0, 255).astype(np.uint8),
        owners=owners,
        boxes=tuple(_box(owners == number, source) for number, source in enumerate(placed)),
        clutter=clutter,
    )


def _any_source(sources: npt.NDArray[np.int64], rng: np.random.Generator) -> Source:
    class_id = int(rng.integers(sources.shape[0]))
    return Source(class_id=class_id, index=int(rng.choice(sources[class_id])))


def _box(visible: npt.NDArray[np.bool_], source: Source) -> Box:
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    return Box(
        source=source,
        left=int(columns[0]),
        top=int(rows[0]),
        right=int(columns[-1]) + 1,
        bottom=int(rows[-1]) + 1,
    )


# Placing


def _free_corner(
    owners: npt.NDArray[np.int8], areas: list[int], alpha: Alpha, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Find a (top, left) inside the image where the sprite hides no object too much; None if none is found."""
    for _ in range(_PLACEMENT_TRIES):
        corner = _any_corner(owners.shape[0], alpha, rng)
        after = owners.copy()
        after[_window(corner, alpha)][alpha > 0] = _NOBODY
        visible = np.bincount(after[after != _NOBODY], minlength=len(areas))
        if all(seen >= MIN_VISIBLE * area for seen, area in zip(visible, areas, strict=True)):
            return corner
    return None


def _any_corner(image_size: int, alpha: Alpha, rng: np.random.Generator) -> tuple[int, int]:
    height, width = alpha.shape
    return int(rng.integers(image_size - height + 1)), int(rng.integers(image_size - width + 1))


def _window(corner: tuple[int, int], alpha: Alpha) -> tuple[slice, slice]:
    (top, left), (height, width) = corner, alpha.shape
    return slice(top, top + height), slice(left, left + width)


def _paste(canvas: Canvas, sprite: _Sprite, corner: tuple[int, int]) -> None:
    below = canvas[_window(corner, sprite.alpha)]
    below += sprite.alpha[..., None] * (sprite.colour - below)


# Objects


def _object_sprite(
    cutouts: Cutouts, source: Source, rng: np.random.Generator, *, ground: Colour, scale: float
) -> _Sprite:
    photo = cutouts.images[source.class_id, source.index]
    return _sprite(photo, rng, tint=_tint(rng, ground), scale=scale, max_degrees=6.0)


def _sprite(photo: Grey, rng: np.random.Generator, *, tint: Colour, scale: float, max_degrees: float) -> _Sprite:
    """Rotate, mirror, resize and tint the photo."""
    solid = _silhouette(photo)
    # The empty surroundings take the mean tone. Otherwise resizing would draw a dark seam around the object.
    grey = Image.fromarray(np.where(solid, photo, photo[solid].mean()).astype(np.uint8))
    mask = Image.fromarray(solid.astype(np.uint8) * 255)
    degrees = float(rng.uniform(-max_degrees, max_degrees))
    smallest, largest = OBJECT_SIZES
    longest = float(rng.triangular(smallest, largest, largest)) * scale
    factor = longest / max(_turned_size(mask, degrees))
    size = (max(4, math.ceil(mask.width * factor)), max(4, math.ceil(mask.height * factor)))
    grey = grey.resize(size, Image.Resampling.BICUBIC).rotate(
        degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=int(photo[solid].mean())
    )
    mask = mask.resize(size, Image.Resampling.BICUBIC).rotate(degrees, Image.Resampling.BILINEAR, expand=True)
    tone, alpha = _unit(grey), _unit(mask)
    if rng.random() < 0.5:
        tone, alpha = tone[:, ::-1], alpha[:, ::-1]
    return _cut(tint * (0.25 + 0.75 * tone[..., None]), alpha)


def _unit(image: Image.Image) -> Alpha:
    """Return the values of a grey image as 0..1."""
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _silhouette(photo: Grey) -> npt.NDArray[np.bool_]:
    """Return the mask of the object; single dark pixels inside it count as object."""
    solid = photo > _NOT_EMPTY
    framed = np.pad(solid, 1).astype(np.int8)
    neighbours = framed[:-2, 1:-1] + framed[2:, 1:-1] + framed[1:-1, :-2] + framed[1:-1, 2:]
    return np.asarray(solid | (neighbours >= 3))


def _turned_size(mask: Image.Image, degrees: float) -> tuple[int, int]:
    left, top, right, bottom = mask.rotate(degrees, Image.Resampling.BILINEAR, expand=True).point(
        lambda value: 255 if value > 127 else 0
    ).getbbox() or (0, 0, *mask.size)
    return right - left, bottom - top


def _cut(colour: Colour, alpha: Alpha) -> _Sprite:
    """Drop the faint rim, so that the visible pixels are those inside the box; then trim."""
    # The straps of a small sandal may be faint everywhere: then the strongest pixels stay.
    alpha = np.where(alpha < min(0.5, float(alpha.max())), 0, alpha).astype(np.float32)
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return _Sprite(colour=colour[window].astype(np.float32), alpha=alpha[window])


def _tint(rng: np.random.Generator, ground: Colour) -> Colour:
    """Choose a colour, RGB 0..255, with enough contrast to the background."""
    while True:
        hue, saturation, value = rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.45, 1.0)
        colour = np.array(colorsys.hsv_to_rgb(hue, saturation, value), dtype=np.float32) * 255
        # The photos' mean tone is near 0.6, which _sprite turns into 0.7 of the tint.
        if float(np.linalg.norm(0.7 * colour - ground)) >= _MIN_CONTRAST:
            return colour


# Background and clutter


def _ground(rng: np.random.Generator, image_size: int) -> tuple[Canvas, Colour]:
    """Draw a textured image without objects, and return it with its mean colour."""
    hue, saturation, value = rng.random(), rng.uniform(0.0, 0.5), rng.uniform(0.15, 0.9)
    mean = np.array(colorsys.hsv_to_rgb(hue, saturation, value), dtype=np.float32) * 255
    texture = np.zeros((image_size, image_size), dtype=np.float32)
    for cells in (2, 5, 11, 32):
        strength = float(rng.uniform(0.0, 9.0))
        texture += strength * _blotches(rng, cells, image_size)
    if rng.random() < 0.4:
        texture += _stripes(rng, image_size)
    return mean + texture[..., None] * rng.uniform(0.6, 1.0, 3).astype(np.float32), mean


def _blotches(rng: np.random.Generator, cells: int, image_size: int) -> Alpha:
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    smooth = coarse.resize((image_size, image_size), Image.Resampling.BICUBIC)
    return np.array(smooth, dtype=np.float32)


def _stripes(rng: np.random.Generator, image_size: int) -> Alpha:
    angle, waves = rng.uniform(0, math.pi), rng.uniform(3, 16)
    rows, columns = np.mgrid[0:image_size, 0:image_size] / image_size
    phase = columns * math.cos(angle) + rows * math.sin(angle)
    return np.asarray(rng.uniform(3, 10) * np.sin(2 * math.pi * waves * phase), dtype=np.float32)


def _add_clutter(
    canvas: Canvas,
    cutouts: Cutouts,
    sources: npt.NDArray[np.int64],
    rng: np.random.Generator,
    *,
    ground: Colour,
    scale: float,
) -> tuple[Source, ...]:
    """Add up to two unlabelled pieces of clutter, and return the cut-outs used for them."""
    used: list[Source] = []
    for _ in range(int(rng.integers(MAX_CLUTTER + 1))):
        tint = _tint(rng, ground)
        if rng.random() < 0.3:
            source = _any_source(sources, rng)
            used.append(source)
            photo = _scrambled(cutouts.images[source.class_id, source.index], rng)
            sprite = _sprite(photo, rng, tint=tint, scale=scale, max_degrees=180.0)
        else:
            sprite = _shape(rng, tint=tint, scale=scale)
        _paste(canvas, sprite, _any_corner(canvas.shape[0], sprite.alpha, rng))
    return tuple(used)


def _scrambled(photo: Grey, rng: np.random.Generator) -> Grey:
    """Shuffle the photo's sixteen tiles: cloth and edges without the shape of a product."""
    tiles = photo.reshape(4, 7, 4, 7).swapaxes(1, 2).reshape(16, 7, 7)[rng.permutation(16)]
    return tiles.reshape(4, 4, 7, 7).swapaxes(1, 2).reshape(28, 28)


def _shape(rng: np.random.Generator, *, tint: Colour, scale: float) -> _Sprite:
    """Draw an ellipse or a polygon with a shade across it."""
    width, height = (max(6, round(float(rng.uniform(12, 48)) * scale)) for _ in range(2))
    finer = 4
    mask = Image.new("L", (width * finer, height * finer))
    draw = ImageDraw.Draw(mask)
    if rng.random() < 0.5:
        draw.ellipse((0, 0, width * finer - 1, height * finer - 1), fill=255)
    else:
        turns = np.sort(rng.uniform(0, 2 * math.pi, 3)) + np.array([0.0, 0.3, 0.6])
        corners = [
            (width * finer * (0.5 + 0.5 * math.cos(t)), height * finer * (0.5 + 0.5 * math.sin(t)))
            for t in (*turns, turns[0] + math.pi)
        ]
        draw.polygon(corners, fill=255)
    alpha = _unit(mask.resize((width, height), Image.Resampling.BOX))
    if not (alpha >= 0.5).any():  # a sliver of a polygon
        alpha = np.ones((height, width), dtype=np.float32)
    shade = np.linspace(rng.uniform(0.4, 0.8), 1.0, width, dtype=np.float32)[None, :, None]
    return _cut(np.broadcast_to(tint * shade, (height, width, 3)), alpha)
