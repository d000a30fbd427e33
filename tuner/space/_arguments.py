"""Names, ranges and types of ultralytics' training arguments, and the role of each in a search.

The ranges are those that ultralytics enforces (`check_cfg`), narrowed where it does not check values that make no
sense. A test compares names, defaults and types with the installed ultralytics.
"""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from tuner.contract import ParamValue
from tuner.exceptions import SpaceError

_Number = TypeVar("_Number", int, float)


class Kind(StrEnum):
    """The type of an argument's values."""

    FLOAT = "a number"
    INT = "a whole number"
    BOOL = "true or false"
    CHOICE = "one of a few values"


class UnfitError(SpaceError):
    """A value breaks an argument's rule; the text gives rule, value and remedy, without a full stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Argument:
    """A training argument that a space may name."""

    name: str
    kind: Kind
    default: ParamValue | None
    """Default of ultralytics; None if ultralytics decides at run time."""
    low: float = 0.0
    high: float = math.inf
    excludes_low: bool = False
    multiple_of: int = 1
    options: tuple[ParamValue, ...] = ()
    """Values of a CHOICE."""
    fixed_only: str = ""
    """Reason why every trial needs the same value; empty if the argument may be searched."""

    def checked(self, value: object) -> ParamValue:
        """Check a value and return it in the argument's type (1 becomes 1.0 for a FLOAT).

        Raises:
            UnfitError: the value has the wrong type, is outside the range, or is not an option.
        """
        match self.kind:
            case Kind.FLOAT:
                return self._in_range(self._number(value))
            case Kind.INT:
                return self._in_range(self._whole_number(value))
            case Kind.BOOL:
                return self._truth(value)
            case Kind.CHOICE:
                return self._option(value)

    @property
    def range_text(self) -> str:
        """Allowed values, in words."""
        if self.kind is Kind.CHOICE:
            return f"one of {listed(self.options)}"
        if self.kind is Kind.BOOL:
            return Kind.BOOL.value
        low = f"above {self.low:g}" if self.excludes_low else f"at least {self.low:g}"
        if not math.isinf(self.high):
            low = f"{low} and at most {self.high:g}"
        return low if self.multiple_of == 1 else f"{low} and a multiple of {self.multiple_of}"

    def _number(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            example = "0.01 or 1e-5" if self.default is None or self.name == "lr0" else shown(self.default)
            raise UnfitError(f"`{self.name}` takes a number, but got {shown(value)}; {_number_remedy(value, example)}")
        return float(value)

    def _whole_number(self, value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            raise UnfitError(f"`{self.name}` takes a whole number, but got {value!r}; write {int(value)}")
        if isinstance(value, bool) or not isinstance(value, int):
            raise UnfitError(f"`{self.name}` takes a whole number, but got {shown(value)}; {self._whole_remedy(value)}")
        return value

    def _whole_remedy(self, value: object) -> str:
        if self.name == "batch" and isinstance(value, float) and value < 1:
            return _NAMED_BATCH
        if isinstance(value, float) and math.isfinite(value) and value >= self.low:
            up = math.ceil(value / self.multiple_of) * self.multiple_of
            return f"write {up}"
        text = value.strip() if isinstance(value, str) else ""
        if text.isdecimal():
            return f"write {text} without quotes"
        return f"write a whole number such as {self._example()}"

    def _example(self) -> int:
        return self.default if isinstance(self.default, int) else max(int(self.low), 10)

    def _in_range(self, value: _Number) -> _Number:
        below = value <= self.low if self.excludes_low else value < self.low
        if (
            not math.isfinite(value)
            or below
            or value > self.high
            or (self.multiple_of > 1 and value % self.multiple_of)
        ):
            raise UnfitError(f"`{self.name}` must be {self.range_text}, but got {value!r}; {self._range_remedy(value)}")
        return value

    def _range_remedy(self, value: float) -> str:
        if self.name == "batch" and value < 1:
            return _NAMED_BATCH
        if self.multiple_of > 1 and math.isfinite(value) and value >= self.low:
            return f"write {math.ceil(value / self.multiple_of) * self.multiple_of}"
        return "choose a value inside that range" + (
            f" (ultralytics' default is {shown(self.default)})" if self.default is not None else ""
        )

    def _truth(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise UnfitError(
            f"`{self.name}` takes true or false, but got {shown(value)}; write true or false without quotes"
        )

    def _option(self, value: object) -> ParamValue:
        for option in self.options:
            if type(option) is type(value) and option == value:
                return option
        if self.name == "optimizer" and str(value).lower() == "auto":
            raise UnfitError(
                "`optimizer` must be named, but got 'auto', which ignores lr0 and momentum; "
                "write SGD or AdamW, or search {choice: [SGD, AdamW]}"
            )
        text = f"`{self.name}` must be one of {listed(self.options)}, but got {shown(value)}"
        near = nearest(str(value), [str(option) for option in self.options])
        raise UnfitError(f"{text}; did you mean {near}?" if near else f"{text}; choose one of them")


_NAMED_BATCH = "give a number: an automatic batch size differs between trials and does not match the record"
_LONGEST_SHOWN = 100


def shown(value: object) -> str:
    """Format a value as in YAML: true instead of True, and quotes around text, so '0.1' is visibly text."""
    if isinstance(value, bool):
        return str(value).lower()
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def listed(values: Iterable[object]) -> str:
    return ", ".join(shown(value).strip("'") for value in values)


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return the candidate most similar to a mistyped name, or an empty string."""
    by_folded = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower()[:100], by_folded, n=1, cutoff=0.7)
    return by_folded[close[0]] if close else ""


def _number_remedy(value: object, example: str) -> str:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return f"write a number such as {example}"
        return f"write {value.strip()} without quotes"
    return f"write a number such as {example}"


def _floats(**defaults: tuple[float, float, float]) -> list[Argument]:
    """Create FLOAT arguments from name=(default, low, high)."""
    return [
        Argument(name=name, kind=Kind.FLOAT, default=default, low=low, high=high)
        for name, (default, low, high) in defaults.items()
    ]


def _flags(**defaults: bool) -> list[Argument]:
    return [Argument(name=name, kind=Kind.BOOL, default=default) for name, default in defaults.items()]


_SPEED_ONLY = "it changes the speed of a trial, not what it learns"
_MEASURE = "all trials must be measured in the same way"

OPTIMIZERS = ("SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop")
ADAM_FAMILY = frozenset({"Adam", "Adamax", "AdamW", "NAdam", "RAdam"})
"""Optimizers for which `momentum` means beta1 and a good lr0 is about ten times smaller."""

AUGMENTATION_STRENGTH = "augmentation_strength"
"""Our own argument: moves all augmentation arguments together, and is never passed to the trainer."""

DETERMINISTIC = "deterministic"
"""Whether a run uses only operations that give the same bits each time; false is faster on a GPU."""

ARGUMENTS: dict[str, Argument] = {
    argument.name: argument
    for argument in [
        # Optimizer and schedule.
        Argument(name="optimizer", kind=Kind.CHOICE, default="auto", options=OPTIMIZERS),
        # ultralytics refuses an lr0 above 1; our trainer accepts it, so a search can show where training breaks.
        Argument(name="lr0", kind=Kind.FLOAT, default=0.01, excludes_low=True),
        *_floats(
            lrf=(0.01, 0, 1),
            momentum=(0.937, 0, 1),
            weight_decay=(0.0005, 0, 1),
            warmup_epochs=(3.0, 0, math.inf),
            warmup_momentum=(0.8, 0, 1),
            warmup_bias_lr=(0.1, 0, 1),
        ),
        *_flags(cos_lr=False),
        Argument(name="batch", kind=Kind.INT, default=16, low=1),
        Argument(name="nbs", kind=Kind.INT, default=64, low=1),
        Argument(name="imgsz", kind=Kind.INT, default=640, low=32, multiple_of=32),
        Argument(name="freeze", kind=Kind.INT, default=None),
        # Weights of the losses.
        *_floats(box=(7.5, 0, math.inf), cls=(0.5, 0, math.inf), dfl=(1.5, 0, math.inf), cls_pw=(0.0, 0, 1)),
        # Augmentation.
        *_floats(
            hsv_h=(0.015, 0, 1),
            hsv_s=(0.7, 0, 1),
            hsv_v=(0.4, 0, 1),
            degrees=(0.0, 0, 180),
            translate=(0.1, 0, 1),
            scale=(0.5, 0, 1),
            shear=(0.0, 0, 89),
            perspective=(0.0, 0, 1),
            flipud=(0.0, 0, 1),
            fliplr=(0.5, 0, 1),
            bgr=(0.0, 0, 1),
            mosaic=(1.0, 0, 1),
            mixup=(0.0, 0, 1),
            cutmix=(0.0, 0, 1),
            copy_paste=(0.0, 0, 1),
            multi_scale=(0.0, 0, 1),
        ),
        Argument(name="copy_paste_mode", kind=Kind.CHOICE, default="flip", options=("flip", "mixup")),
        Argument(name="close_mosaic", kind=Kind.INT, default=10),
        *_flags(rect=False),
        # The same for every trial.
        Argument(
            name="fraction",
            kind=Kind.FLOAT,
            default=1.0,
            high=1,
            excludes_low=True,
            fixed_only="trials on different amounts of data cannot be compared",
        ),
        Argument(
            name="single_cls",
            kind=Kind.BOOL,
            default=False,
            fixed_only="it makes the task easier, so trials with and without it cannot be compared",
        ),
        Argument(name="iou", kind=Kind.FLOAT, default=0.7, high=1, fixed_only=_MEASURE),
        Argument(name="max_det", kind=Kind.INT, default=300, low=1, fixed_only=_MEASURE),
        Argument(name="agnostic_nms", kind=Kind.BOOL, default=False, fixed_only=_MEASURE),
        Argument(name="amp", kind=Kind.CHOICE, default=True, options=(True, False, "fp16", "bf16", "fp32")),
        Argument(
            name="cache",
            kind=Kind.CHOICE,
            default=False,
            options=(False, True, "ram", "disk"),
            fixed_only=_SPEED_ONLY,
        ),
        Argument(
            name="compile",
            kind=Kind.CHOICE,
            default=False,
            options=(False, True, "default", "reduce-overhead", "max-autotune-no-cudagraphs"),
            fixed_only=_SPEED_ONLY,
        ),
        Argument(name="channels_last", kind=Kind.BOOL, default=None, fixed_only=_SPEED_ONLY),
        Argument(name=DETERMINISTIC, kind=Kind.BOOL, default=True, fixed_only=_SPEED_ONLY),
        Argument(name=AUGMENTATION_STRENGTH, kind=Kind.FLOAT, default=None, high=1),
    ]
}


def _same(reason: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


REFUSED: dict[str, str] = {
    "dropout": "acts on classification heads only; against overfitting search weight_decay or mixup instead",
    "erasing": "acts on classification only; for stronger augmentation search augmentation_strength",
    "auto_augment": "acts on classification only; for stronger augmentation search augmentation_strength",
    "label_smoothing": "was removed from ultralytics; leave it out",
    "crop_fraction": "was removed from ultralytics; leave it out",
    "conf": "changes how mAP is measured, not the model; leave it out",
    "distill_model": "is not part of a search; distil the model of the final run afterwards",
    "dis": "acts only with distill_model, which is not part of a search; leave it out",
    "augmentations": "cannot be written in YAML; search the named augmentation arguments",
    "epochs": "is the length of every trial's schedule; set `epochs` under `search`",
    "seed": "is derived for each trial from the seed of the study; set `seed` under `search`",
    "patience": "is replaced by early stopping at the rungs; set `rungs` under `search`",
    "data": "belongs to the study; set `data` at the top of the file or on the command line",
    "model": "belongs to the study; set `model` at the top of the file or on the command line",
    "pretrained": "follows from `model`: a name or a .yaml starts from scratch, a .pt from its weights",
    "cls_remap": "acts only on pretrained weights, which follow from `model`; leave it out",
    "quantize": "is for export; quantise the model of the final run afterwards",
    **_same(
        "is set by the tuner for every trial; leave it out",
        "device workers project name save save_dir save_period save_json val plots resume exist_ok "
        "verbose time task mode split profile cfg",
    ),
    **_same(
        "plays no role in training a detector; leave it out",
        "overlap_mask mask_ratio pose kobj rle angle dlog dgrad dlam dnn nms source vid_stride stream_buffer "
        "visualize augment classes retina_masks embed show save_frames save_txt save_conf "
        "save_crop show_labels show_conf show_boxes line_width format optimize dynamic simplify opset "
        "workspace tracker half int8 keras save_hybrid",
    ),
}
"""Arguments that a space must not name, with the reason and the remedy."""

_OTHER_NAMES = {
    "lr": "lr0",
    "learning_rate": "lr0",
    "final_lr": "lrf",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "batch_size": "batch",
    "bs": "batch",
    "image_size": "imgsz",
    "img_size": "imgsz",
    "resolution": "imgsz",
    "opt": "optimizer",
    "beta1": "momentum",
    "rotation": "degrees",
    "cosine": "cos_lr",
    "augmentation": AUGMENTATION_STRENGTH,
    "nominal_batch_size": "nbs",
}


def meant_argument(name: str) -> str:
    """Return the argument that an unknown name probably means, or an empty string."""
    return _OTHER_NAMES.get(name.lower()) or nearest(name, ARGUMENTS)
