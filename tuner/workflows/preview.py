"""Show augmentation on contact sheets that the trainer draws with its training code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.contract import Outcome, Params, PreviewRecord, PreviewRequest, Record, SheetSettings
from tuner.exceptions import DataError, MachineError
from tuner.execution.single_request import ask
from tuner.space import ARGUMENTS, SHIPPED_SPACES, Space, UnitCube, load_space
from tuner.system.scratch import scratch_folder
from tuner.system.signals import trapped_signals

STRENGTHS = ("weak", "medium", "strong")
"""Strengths of augmentation that have a shipped space."""
SAMPLED = 3
"""Number of configurations sampled from a space."""

_AUGMENTATION = (
    "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr",
    "bgr", "mosaic", "mixup", "cutmix", "copy_paste", "copy_paste_mode", "rect",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewOptions:
    """Content and size of the preview."""

    space: Space | None
    """Space to be searched; None for none."""
    data: str
    """Absolute path of a data set YAML, or the name of the bundled sample data set."""
    directory: Path
    imgsz: int | None = None
    """Image size of all sheets; None for that of the space."""
    images: int = 4
    draws: int = 5
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheets:
    """Sheets that were drawn."""

    files: tuple[Path, ...]
    """Files in the requested folder."""
    notes: tuple[str, ...]
    """Notes for the user, one line each."""


def settings_of(space: Space | None, *, imgsz: int | None, seed: int) -> tuple[SheetSettings, ...]:
    """Return the settings to draw: the three strengths, then the space's default and some samples of the space.

    A space that searches no augmentation is not sampled.

    Args:
        space: Space to be searched; None for none.
        imgsz: Image size of all sheets; None for that of the space.
        seed: Random seed of the samples, 0 or more.
    """
    default = space.resolve(space.baseline_sampled()) if space else {}
    size = imgsz or default.get("imgsz")
    settings = []
    for strength in STRENGTHS:
        shipped = load_space(SHIPPED_SPACES / f"{strength}_aug.yaml")
        params = _sized(shipped.resolve(shipped.baseline_sampled()), size)
        settings.append(SheetSettings(name=strength, title=f"{strength}: the default of {shipped.name}", params=params))
    if space:
        settings.append(
            SheetSettings(name="default", title=f"the default of {space.name}", params=_sized(default, imgsz))
        )
        settings += _sampled(space, imgsz, seed)
    return tuple(settings)


def draw(options: PreviewOptions, trainer: Sequence[str]) -> Sheets:
    """Have the trainer with this command draw the sheets.

    Raises:
        DataError: the data set cannot be trained on.
        MachineError: the folder is not writable, or the trainer does not work or does not draw.
    """
    settings = settings_of(options.space, imgsz=options.imgsz, seed=options.seed)
    drawn: PreviewRecord | None = None

    def listen(record: Record) -> None:
        nonlocal drawn
        if isinstance(record, PreviewRecord):
            drawn = record

    with trapped_signals(), scratch_folder() as folder:
        request = PreviewRequest(
            data=options.data,
            directory=str(folder),
            out=str(options.directory.absolute()),
            sheets=settings,
            images=options.images,
            draws=options.draws,
            seed=options.seed,
        )
        end = ask(trainer, request, listen)
    if end.outcome == Outcome.BAD_DATA:
        raise DataError(end.message)
    if end.outcome != Outcome.COMPLETED or drawn is None:
        raise MachineError(f"The trainer cannot draw the sheets: {end.message or end.outcome}")
    files = tuple(options.directory / Path(file).name for file in drawn.files)
    return Sheets(files=files, notes=(*drawn.notes, *_unsearched(options.space, settings)))


def _unsearched(space: Space | None, settings: tuple[SheetSettings, ...]) -> list[str]:
    if space is None or any(setting.name.startswith("sampled") for setting in settings):
        return []
    return [f"{space.name} searches no augmentation, so all its trials look like the default"]


def _sampled(space: Space, imgsz: int | None, seed: int) -> list[SheetSettings]:
    cube = UnitCube(space)
    points = cube.cube.random(np.random.default_rng(seed), SAMPLED)
    drawn = [_sized(space.resolve(cube.sampled(point)), imgsz) for point in points]
    default = _augmentation(space.resolve(space.baseline_sampled()))
    if all(_augmentation(params) == default for params in drawn):
        return []
    return [
        SheetSettings(name=f"sampled-{number}", title=f"{number} of {SAMPLED} drawn from {space.name}", params=params)
        for number, params in enumerate(drawn, start=1)
    ]


def _sized(params: Params, imgsz: Any) -> Params:
    return params if imgsz is None else {**params, "imgsz": imgsz}


def _augmentation(params: Params) -> Mapping[str, object]:
    return {name: params.get(name, ARGUMENTS[name].default) for name in _AUGMENTATION}
