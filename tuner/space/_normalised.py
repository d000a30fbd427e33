"""Convert values from ultralytics' own files to the form used in training."""

import math
from collections.abc import Sequence

from tuner.contract import ParamValue
from tuner.space._arguments import ARGUMENTS, OPTIMIZERS, Kind, UnfitError, shown

_WHOLE = frozenset(
    {"epochs", "patience", "seed", *(name for name, argument in ARGUMENTS.items() if argument.kind is Kind.INT)}
)
_OLD_MULTI_SCALE = 0.5
"""Meaning of `multi_scale: true` of ultralytics 8.1 to 8.3, as a share of the image size."""

Given = ParamValue | Sequence[ParamValue | None]


def normalised(name: str, given: Given) -> ParamValue:
    """Return one value for the content of a file, which may be a list in some versions, or a whole number like 9.0.

    Raises:
        UnfitError: the value is a list that no single value can represent, or an automatic batch or optimizer.
    """
    value = given if isinstance(given, bool | int | float | str) else _one_of(name, given)
    if name in _WHOLE and isinstance(value, float) and value.is_integer():
        value = int(value)
    if name == "close_mosaic" and isinstance(value, float) and math.isfinite(value):
        return round(value)  # as ultralytics does with the proposals of its tuner
    if name == "optimizer" and isinstance(value, str):
        return _optimizer(value)
    if name == "multi_scale" and isinstance(value, bool):
        return _OLD_MULTI_SCALE if value else 0.0
    if name == "imgsz" and isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return math.ceil(value / 32) * 32
    if name == "batch" and isinstance(value, int | float) and not isinstance(value, bool) and value < 1:
        raise UnfitError(f"`batch` must be a number of images, but got {value}; give a number, or use --batch auto")
    return value


def _optimizer(value: str) -> str:
    if value.lower() == "auto":
        raise UnfitError(
            "`optimizer` must be named, but got 'auto', which ignores lr0 and momentum; use --set optimizer=SGD or "
            "another optimizer"
        )
    return {name.lower(): name for name in OPTIMIZERS}.get(value.lower(), value)


def _one_of(name: str, given: Sequence[ParamValue | None]) -> ParamValue:
    numbers = [item for item in given if isinstance(item, int | float) and not isinstance(item, bool)]
    if len(numbers) == len(given):
        if name == "imgsz" and numbers:
            return max(numbers)
        if name == "freeze" and sorted(numbers) == list(range(len(numbers))):
            return len(numbers)
    remedy = {
        "freeze": "write N for the first N layers",
        "scale": "write one number, such as 0.5 for 0.5 to 1.5",
        "fraction": "write the share of the training images",
        "batch": "write a number of images",
    }.get(name, "write one value")
    values = ", ".join("null" if item is None else shown(item).strip("'") for item in given)
    raise UnfitError(f"`{name}` must be one value, but got [{values[:60]}]; {remedy}")
