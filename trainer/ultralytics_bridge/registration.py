"""Registration of our modules in ultralytics' model parser and torch's restricted loader, done on import.

`ultralytics.nn.tasks.parse_model` looks module names up in its own globals. Two function-local frozensets decide which
classes get `(in_channels, out_channels, ...)` with the width scaled, and which of these take the repeat count as third
argument instead of being repeated. There is no hook for either, so we

1. set our classes as attributes of `ultralytics.nn.tasks`,
2. put a function named `frozenset` there. It shadows the builtin in that module alone and adds our classes when it
    recognises one of the two sets.

Both depend on how one version is written. A self-test therefore parses a tiny model each time and stops with an error
if the result differs from the model that we would build by hand.

The detection head needs nothing from us: `parse_model` builds the head that YOLOv8 has (`Detect.legacy`) for every
model without a C3k2, A2C2f or C2fCIB block, ours included, and sets that class attribute again for each model. The
self-test has no head, so it leaves the attribute unchanged.

If torch and ultralytics are restricted to known classes, they then know ours too. Without that restriction, as in a
user's own process, nothing changes.
"""

import builtins
from collections.abc import Iterable
from typing import Any

import torch
import ultralytics
from torch import nn
from ultralytics.nn import tasks

from trainer.exceptions import TrainerError
from trainer.nn import SS2D, LayerNorm2d, LSBlock, RGBlock, SimpleStem, VisionClueMerge, VSSBlock, XSSBlock
from trainer.ultralytics_bridge.environment import TESTED_VERSION

__all__ = ["TESTED_VERSION", "UnsupportedUltralyticsError"]

_SCALED: tuple[type[nn.Module], ...] = (SimpleStem, VisionClueMerge, VSSBlock, XSSBlock)
_INSIDE_OTHERS: tuple[type[nn.Module], ...] = (LSBlock, LayerNorm2d, RGBlock, SS2D)
_REPEATS_ITSELF: tuple[type[nn.Module], ...] = (XSSBlock,)

_TINY_MODEL = {
    "depth_multiple": 0.67,
    "width_multiple": 0.5,
    "backbone": [
        [-1, 1, "SimpleStem", [16, 3]],
        [-1, 3, "VSSBlock", [16]],
        [-1, 1, "VisionClueMerge", [32]],
    ],
    "head": [[-1, 3, "XSSBlock", [48, False]]],
}


class UnsupportedUltralyticsError(TrainerError):
    """Model parser of the installed ultralytics that our registration does not fit."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Mamba-YOLO's modules could not be registered with ultralytics {ultralytics.__version__}: "
            f"{reason}. This trainer is tested with {TESTED_VERSION}: pip install ultralytics=={TESTED_VERSION}"
        )


def _frozenset(members: Iterable[Any] = ()) -> builtins.frozenset[Any]:
    """Replace the builtin inside `ultralytics.nn.tasks`."""
    made = builtins.frozenset(members)
    if {tasks.Conv, tasks.C2f} <= made:
        return made.union(_SCALED)
    if {tasks.C2f, tasks.C3k2} <= made:
        return made.union(_REPEATS_ITSELF)
    return made


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _self_test() -> None:
    # On the CPU, where a few small tensors take milliseconds: initialising tensors without data would import torch's
    # compiler, which takes a second. The importing process keeps the state of its random generator.
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        try:
            parsed, _ = tasks.parse_model(_copied(_TINY_MODEL), ch=3, verbose=False)
        except Exception as error:  # whatever a changed parser may raise
            raise UnsupportedUltralyticsError(f"parsing a tiny model raised {error!r}") from error
        by_hand = nn.Sequential(
            SimpleStem(3, 8, 3),
            nn.Sequential(VSSBlock(8, 8), VSSBlock(8, 8)),
            VisionClueMerge(8, 16),
            XSSBlock(16, 24, 2, False),
        )
    if _shapes(parsed) != _shapes(by_hand):
        raise UnsupportedUltralyticsError("a tiny model has other channels or repeats than its description")


def _copied(model: dict[str, Any]) -> dict[str, Any]:
    """Copy what `parse_model` may modify: it replaces arguments in place."""
    return {
        key: [[*row[:3], [*row[3]]] for row in value] if isinstance(value, list) else value
        for key, value in model.items()
    }


def _register() -> None:
    for module in _SCALED:
        setattr(tasks, module.__name__, module)
    # Always wraps the builtin, never itself, so that registering twice equals registering once.
    tasks.frozenset = _frozenset
    torch.serialization.add_safe_globals([*_SCALED, *_INSIDE_OTHERS])
    _self_test()


_register()
