"""Teaches ultralytics' model parser our modules, and torch's restricted loader; importing this module does it.

`ultralytics.nn.tasks.parse_model` looks module names up in its own globals, and decides by two function-local
frozensets which classes get `(in_channels, out_channels, ...)` with the width scaled, and which of these take
the repeat count as third argument instead of being repeated. There is no hook for either, so we

1. set our classes as attributes of `ultralytics.nn.tasks`,
2. put a function named `frozenset` there, which shadows the builtin in that module alone and adds our
   classes when it recognises one of the two sets.

Both rest on how one version is written, so a self-test parses a tiny model each time and refuses to go on
when the result is not what we would have built by hand.

The detection head needs nothing from us: `parse_model` builds the head that YOLOv8 has (`Detect.legacy`) for
every model without a C3k2, A2C2f or C2fCIB block, ours included, and sets that class attribute anew for each
model. The self-test has no head, so the attribute is left as it was found.

torch and ultralytics, where they are told to load nothing but known classes, then know ours too. Where they are
not told so, as in a user's own process, nothing changes.
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
    """The installed ultralytics parses models in a way that our registration does not fit."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Mamba-YOLO's modules could not be registered with ultralytics {ultralytics.__version__}: "
            f"{reason}. This trainer is tested with {TESTED_VERSION}: pip install ultralytics=={TESTED_VERSION}"
        )


def _frozenset(members: Iterable[Any] = ()) -> builtins.frozenset[Any]:
    """Stand in for the builtin inside `ultralytics.nn.tasks`."""
    made = builtins.frozenset(members)
    if {tasks.Conv, tasks.C2f} <= made:
        return made.union(_SCALED)
    if {tasks.C2f, tasks.C3k2} <= made:
        return made.union(_REPEATS_ITSELF)
    return made


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _self_test() -> None:
    # Tensors without data: no time, and no draw from the random generator of whoever imports us.
    with torch.device("meta"):
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
        raise UnsupportedUltralyticsError("a tiny model came out with other channels or repeats than it asks for")


def _copied(model: dict[str, Any]) -> dict[str, Any]:
    """Copy what `parse_model` may write to: it replaces arguments in place."""
    return {
        key: [[*row[:3], [*row[3]]] for row in value] if isinstance(value, list) else value
        for key, value in model.items()
    }


def _register() -> None:
    for module in _SCALED:
        setattr(tasks, module.__name__, module)
    # Always on top of the builtin, never on top of itself, so that registering twice is registering once.
    tasks.frozenset = _frozenset
    torch.serialization.add_safe_globals([*_SCALED, *_INSIDE_OTHERS])
    _self_test()


_register()
