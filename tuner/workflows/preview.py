"""What augmentation looks like: contact sheets, drawn by the trainer with the code that it trains with."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.contract import Outcome, Params
from tuner.exceptions import DataError, MachineError, TunerError
from tuner.space import ARGUMENTS, SHIPPED_SPACES, Space, UnitCube, load_space
from tuner.system.scratch import scratch_folder
from tuner.system.signals import trapped_signals

STRENGTHS = ("weak", "medium", "strong")
"""Shipped spaces that stand for a strength of augmentation each."""
SAMPLED = 3
"""Configurations drawn from a space."""

_AUGMENTATION = (
    "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr",
    "bgr", "mosaic", "mixup", "cutmix", "copy_paste", "copy_paste_mode", "rect",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewRequest:
    """What to look at, and how much of it."""

    space: Space | None
    """The one that will be searched, if any."""
    data: str
    """Absolute path of a data set YAML, or the sample's name."""
    directory: Path
    imgsz: int | None = None
    """For all sheets, in the place of the space's."""
    pictures: int = 4
    draws: int = 5
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One sheet."""

    name: str
    """Its file's, without the suffix."""
    title: str
    params: Params


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheets:
    """What was drawn."""

    files: tuple[Path, ...]
    """In the folder that was asked for."""
    notes: tuple[str, ...]
    """What the user should know, one line each."""


def settings_of(space: Space | None, *, imgsz: int | None, seed: int) -> tuple[Setting, ...]:
    """The settings to look at: the three strengths, then the space's default and some drawn from it.

    Nothing is drawn from a space that searches no augmentation.

    Args:
        space: the one that will be searched, if any.
        imgsz: for all of them, in the place of the space's.
        seed: 0 or more; says which are drawn.
    """
    default = space.resolve(space.baseline_sampled()) if space else {}
    size = imgsz or default.get("imgsz")
    settings = []
    for strength in STRENGTHS:
        shipped = load_space(SHIPPED_SPACES / f"{strength}_aug.yaml")
        params = _sized(shipped.resolve(shipped.baseline_sampled()), size)
        settings.append(Setting(name=strength, title=f"{strength}: the default of {shipped.name}", params=params))
    if space:
        settings.append(Setting(name="default", title=f"the default of {space.name}", params=_sized(default, imgsz)))
        settings += _sampled(space, imgsz, seed)
    return tuple(settings)


def draw(request: PreviewRequest) -> Sheets:
    """Have the trainer draw the sheets.

    Raises:
        DataError: the data set cannot be trained on.
        MachineError: the folder cannot be written.
    """
    settings = settings_of(request.space, imgsz=request.imgsz, seed=request.seed)
    line = json.dumps(
        {
            "data": request.data,
            "directory": str(request.directory.absolute()),
            "settings": [asdict(setting) for setting in settings],
            "pictures": request.pictures,
            "draws": request.draws,
            "seed": request.seed,
        }
    )
    command = [sys.executable, "-m", "trainer", "preview"]
    with trapped_signals(), scratch_folder():
        done = subprocess.run(command, input=f"{line}\n", capture_output=True, text=True, check=False)
    answer = _answer(done)
    match answer["outcome"]:
        case Outcome.COMPLETED:
            files = tuple(request.directory / Path(file).name for file in answer["files"])
            return Sheets(files=files, notes=(*answer["notes"], *_unsearched(request.space, settings)))
        case Outcome.BAD_DATA:
            raise DataError(answer["message"])
        case _:
            raise MachineError(answer["message"])


def _unsearched(space: Space | None, settings: tuple[Setting, ...]) -> list[str]:
    if space is None or any(setting.name.startswith("sampled") for setting in settings):
        return []
    return [f"{space.name} searches no augmentation: all its trials look like the default"]


def _answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The last line: before it, ultralytics may have said this and that."""
    try:
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (json.JSONDecodeError, IndexError):
        lines = done.stderr.strip().splitlines() or ["no output"]
        said = f"it ended with {done.returncode}: {lines[-1]}"
        raise TunerError(f"The trainer draws sheets and answers with one line of JSON, but {said}") from None
    return answer


def _sampled(space: Space, imgsz: int | None, seed: int) -> list[Setting]:
    cube = UnitCube(space)
    points = cube.cube.random(np.random.default_rng(seed), SAMPLED)
    drawn = [_sized(space.resolve(cube.sampled(point)), imgsz) for point in points]
    default = _augmentation(space.resolve(space.baseline_sampled()))
    if all(_augmentation(params) == default for params in drawn):
        return []
    return [
        Setting(name=f"sampled-{number}", title=f"{number} of {SAMPLED} drawn from {space.name}", params=params)
        for number, params in enumerate(drawn, start=1)
    ]


def _sized(params: Params, imgsz: Any) -> Params:
    return params if imgsz is None else {**params, "imgsz": imgsz}


def _augmentation(params: Params) -> Mapping[str, object]:
    return {name: params.get(name, ARGUMENTS[name].default) for name in _AUGMENTATION}
