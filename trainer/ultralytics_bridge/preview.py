"""Training pictures as a configuration augments them, made by the very code that trains on them."""

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
from trainer.ultralytics_bridge import training as _training  # noqa: F401 - the same ways around ultralytics' habits
from tuner.contract import Params

SHOWN = (
    "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr",
    "bgr", "mosaic", "mixup", "cutmix", "copy_paste",
)  # fmt: skip
"""The arguments that change what a training picture looks like."""

_MIXING = ("mosaic", "mixup", "cutmix")
_BATCH = 16
_PARTNERS = 32
"""Pictures that a mosaic is filled from; while training, those that were loaded last."""


class Preview:
    """Draws sheets of a data set: the same pictures on all, and the same chances for the same place on each."""

    def __init__(self, data: Path, *, pictures: int, draws: int, seed: int) -> None:
        """
        Args:
            data: what `write_resolved` wrote.
            pictures: rows of a sheet, at least 1; fewer where the data set has not so many with labels.
            draws: augmented pictures in a row, at least 1.
            seed: 0 or more; says which pictures, and what happens to them.

        Raises:
            DataError: ultralytics cannot read the data set.
        """
        self._data = data
        self._pictures = pictures
        self._draws = draws
        self._seed = seed
        self._loaded: dict[tuple[object, ...], _Loaded] = {}
        self._chosen: tuple[str, ...] = ()
        try:
            self._checked: dict[str, Any] = check_det_dataset(str(data))
        except Exception as error:
            raise _unreadable(data, error) from error

    def sheet(self, title: str, params: Params) -> Sheet:
        """The sheet of one configuration.

        Raises:
            DataError: ultralytics cannot read the data set, or one of its pictures.
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
        """ultralytics' arguments for a configuration, as a trial has them, but nothing kept and no picture left out."""
        fixed = {"task": "detect", "mode": "train", "data": str(self._data), "cache": False, "fraction": 1.0}
        return get_cfg(overrides={**params, **fixed})

    def _load(self, args: Any) -> "_Loaded":
        """The data set for these arguments, shared by all that differ in augmentation only."""
        batch = int(args.batch) if args.rect else _BATCH
        key = (args.imgsz, args.rect, args.single_cls, batch)
        if key not in self._loaded:
            checked = {**self._checked, "names": {0: "item"}, "nc": 1} if args.single_cls else self._checked
            try:
                dataset = build_yolo_dataset(copy(args), checked["train"], batch, checked, mode="train")
                self._chosen = self._chosen or _spread(dataset, self._pictures, self._seed)
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
    """One of ultralytics' data sets, and the pictures that it holds in memory."""

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
        """The picture as ultralytics validates on it: brought to size and nothing else."""
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
        """The picture as it is trained on; the same seeds give the same one, whatever was drawn before."""
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
    """Something to look at, whatever the number of channels: grey, or the first three, which ultralytics has blue first
    where there are more."""
    if pixels.shape[2] < 3:
        pixels = pixels[..., :1].repeat(3, axis=2)
    elif pixels.shape[2] > 3:
        pixels = pixels[..., 2::-1]
    return np.ascontiguousarray(pixels)


def _spread(dataset: Any, number: int, seed: int) -> tuple[str, ...]:
    """Pictures with labels, one from each of equal parts of the data set; any, where none has labels."""
    labelled = [place for place, label in enumerate(dataset.labels) if len(label["cls"])] or list(range(dataset.ni))
    number = min(number, len(labelled))
    parts = np.array_split(np.array(labelled), number)
    rng = np.random.default_rng(seed)
    return tuple(dataset.im_files[int(rng.choice(part))] for part in parts)


def _switched_off(names: Sequence[str]) -> str:
    return f"at 0: {', '.join(names)}" if names else ""


def _notes(args: Any, labels: Sequence[Mapping[str, Any]]) -> list[str]:
    """What these arguments ask for and nobody will see."""
    notes = []
    if args.copy_paste and not any(len(label["segments"]) for label in labels):
        notes.append("copy_paste has no effect: it needs outlines, and the labels are boxes")
    mixing = [name for name in _MIXING if getattr(args, name)]
    if args.rect and mixing:
        notes.append(f"{', '.join(mixing)}: no effect beside rect")
    if args.multi_scale:
        notes.append("multi_scale is not shown: it changes the size of whole batches")
    if not any(len(label["cls"]) for label in labels):
        notes.append("no training picture has a label: there are no boxes to see")
    return notes


def _unreadable(file: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return DataError(f"ultralytics cannot read '{file}': {reason}")
