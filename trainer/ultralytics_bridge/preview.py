"""Training images as a configuration augments them, produced by the same code that trains on them."""

import random
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset

from trainer.data.drawing.boxes import Cell
from trainer.data.drawing.contact_sheet import Row, Sheet
from trainer.exceptions import DataError
from trainer.ultralytics_bridge import training as _training  # noqa: F401 - same patches as in training
from tuner.contract import Params

SHOWN = (
    "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr",
    "bgr", "mosaic", "mixup", "cutmix", "copy_paste",
)  # fmt: skip
"""Arguments that change how a training image looks."""

_MIXING = ("mosaic", "mixup", "cutmix")
_BATCH = 16
_PARTNERS = 32
"""Images available to fill a mosaic; during training, those loaded last."""


class Preview:
    """Preview sheets of a data set: the same images, with the same random draws at the same place on each sheet."""

    def __init__(self, data: Path, *, images: int, draws: int, seed: int) -> None:
        """Load the data set.

        Args:
            data: File written by `write_resolved`.
            images: Rows of a sheet, at least 1; fewer if the data set has fewer images with labels.
            draws: Augmented images per row, at least 1.
            seed: 0 or more; selects the images and their augmentations.

        Raises:
            DataError: ultralytics cannot read the data set.
        """
        self._data = data
        self._images = images
        self._draws = draws
        self._seed = seed
        self._loaded: dict[tuple[object, ...], _Loaded] = {}
        self._chosen: tuple[str, ...] = ()
        try:
            self._checked: dict[str, Any] = check_det_dataset(str(data))
        except Exception as error:
            raise _unreadable(data, error) from error

    def sheet(self, title: str, params: Params) -> Sheet:
        """Return the sheet of one configuration.

        Raises:
            DataError: ultralytics cannot read the data set, or one of its images.
        """
        args = self._arguments(params)
        loaded = self._load(args)
        values = {name: float(getattr(args, name)) for name in SHOWN}
        return Sheet(
            title=title,
            facts=(f"imgsz {args.imgsz}", *(f"{name} {value:.3g}" for name, value in values.items() if value)),
            left_out=_switched_off([name for name, value in values.items() if not value]),
            notes=tuple(_notes(args, loaded.labels)),
            columns=("untouched", *(f"draw {number}" for number in range(1, self._draws + 1))),
            rows=tuple(self._row(args, loaded, number, file) for number, file in enumerate(self._chosen)),
            names=loaded.names,
        )

    def _arguments(self, params: Params) -> Any:
        """Return a trial's ultralytics arguments for a configuration, with no cache and no image excluded."""
        fixed = {"task": "detect", "mode": "train", "data": str(self._data), "cache": False, "fraction": 1.0}
        return get_cfg(overrides={**params, **fixed})

    def _load(self, args: Any) -> "_Loaded":
        """Load the data set for these arguments; configurations that differ only in augmentation share it."""
        batch = int(args.batch) if args.rect else _BATCH
        key = (args.imgsz, args.rect, args.single_cls, batch)
        if key not in self._loaded:
            checked = {**self._checked, "names": {0: "item"}, "nc": 1} if args.single_cls else self._checked
            try:
                dataset = build_yolo_dataset(copy(args), checked["train"], batch, checked, mode="train")
                self._chosen = self._chosen or _spread(dataset, self._images, self._seed)
                self._loaded[key] = _Loaded(dataset, args, self._chosen, self._seed)
            except Exception as error:
                raise _unreadable(self._data, error) from error
        return self._loaded[key]

    def _row(self, args: Any, loaded: "_Loaded", number: int, file: str) -> Row:
        try:
            draws = [loaded.augmented(args, file, (self._seed, number, draw)) for draw in range(self._draws)]
        except Exception as error:
            raise _unreadable(Path(file), error) from error
        return Row(caption=loaded.caption(file), cells=(loaded.untouched[file], *draws))


class _Loaded:
    """Loaded ultralytics data set, with the images that it keeps in memory."""

    def __init__(self, dataset: Any, args: Any, chosen: Sequence[str], seed: int) -> None:
        self._dataset = dataset
        self._places = {file: place for place, file in enumerate(dataset.im_files)}
        self.names: Mapping[int, str] = dataset.data["names"]
        self.labels: list[Mapping[str, Any]] = dataset.labels
        self._sizes: dict[str, tuple[int, int]] = {}
        self.untouched = {file: self._untouched(args, file) for file in chosen}
        for place in random.Random(seed).sample(range(dataset.ni), min(dataset.ni, _PARTNERS)):
            dataset.load_image(place)
        self._held = {name: list(getattr(dataset, name)) for name in ("buffer", "ims", "im_hw0", "im_hw")}

    def _untouched(self, args: Any, file: str) -> Cell:
        """Return the image as ultralytics validates on it: only resized."""
        self._dataset.augment = False
        try:
            self._dataset.transforms = self._dataset.build_transforms(copy(args))
            found = self._dataset[self._places[file]]
        finally:
            self._dataset.augment = True
        height, width = found["ori_shape"]
        self._sizes[file] = width, height
        return _cell(found)

    def augmented(self, args: Any, file: str, seeds: tuple[int, ...]) -> Cell:
        """Return the image as it is trained on; the same seeds always give the same image."""
        for name, held in self._held.items():
            setattr(self._dataset, name, list(held))
        self._dataset.transforms = self._dataset.build_transforms(copy(args))
        seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        return _cell(self._dataset[self._places[file]])

    def caption(self, file: str) -> str:
        width, height = self._sizes[file]
        return f"{Path(file).name}, {width} x {height} pixels"


def _cell(sample: Mapping[str, Any]) -> Cell:
    centre, size = sample["bboxes"].double().numpy().reshape(-1, 4).reshape(-1, 2, 2).swapaxes(0, 1)
    return Cell(
        pixels=_in_colours(sample["img"].permute(1, 2, 0).numpy()),
        boxes=np.concatenate([centre - size / 2, centre + size / 2], axis=1),
        classes=tuple(int(class_id) for class_id in sample["cls"].flatten().tolist()),
    )


def _in_colours(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert an image with any number of channels for display.

    With fewer than three channels, the first one is shown as grey. With more, the first three are shown; ultralytics
    then stores blue first.
    """
    if pixels.shape[2] < 3:
        pixels = pixels[..., :1].repeat(3, axis=2)
    elif pixels.shape[2] > 3:
        pixels = pixels[..., 2::-1]
    return np.ascontiguousarray(pixels)


def _spread(dataset: Any, number: int, seed: int) -> tuple[str, ...]:
    """Choose images with labels, one from each of equal parts of the data set; any images if none has labels."""
    labelled = [place for place, label in enumerate(dataset.labels) if len(label["cls"])] or list(range(dataset.ni))
    number = min(number, len(labelled))
    parts = np.array_split(np.array(labelled), number)
    rng = np.random.default_rng(seed)
    return tuple(dataset.im_files[int(rng.choice(part))] for part in parts)


def _switched_off(names: Sequence[str]) -> str:
    return f"at 0: {', '.join(names)}" if names else ""


def _notes(args: Any, labels: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the requested effects that the preview cannot show."""
    notes = []
    if args.copy_paste and not any(len(label["segments"]) for label in labels):
        notes.append("copy_paste has no effect: it needs outlines, but the labels are boxes")
    mixing = [name for name in _MIXING if getattr(args, name)]
    if args.rect and mixing:
        notes.append(f"{', '.join(mixing)}: no effect together with rect")
    if args.multi_scale:
        notes.append("multi_scale is not shown: it changes the size of whole batches")
    if not any(len(label["cls"]) for label in labels):
        notes.append("no training image has a label, so there are no boxes to show")
    return notes


def _unreadable(file: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return DataError(f"ultralytics cannot read '{file}': {reason}")
