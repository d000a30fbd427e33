"""Changes of parameters, computed from those of the run."""

from tuner.contract import ParamValue
from tuner.diagnosis.columns import RT_DETR
from tuner.diagnosis.runs import Run
from tuner.space import augmentation_of

LEAST_LR0 = {True: 0.0001, False: 0.001}
"""By whether the optimizer is like Adam. For SGD the guide's, below which training crawls [21, 27]; Adam's a tenth."""
USUAL_LR0 = {True: 0.001, False: 0.01}
"""The guide's for training from scratch [21]."""
TRANSFORMER_LR0, LEAST_TRANSFORMER_LR0 = 0.0001, 0.00001
"""RT-DETR is trained with AdamW at the former; SGD and the learning rates of convolutional detectors break it."""
LONG_WARM_UP = 5
"""Epochs; the guide's usual warm-up has 3 [10]."""
WEIGHT_DECAY, PATIENCE = 0.001, 30
"""The guide's against overfitting [28]."""
WEAKER_MOSAIC = 0.5
"""The guide's, with no mixup, where the loss does not fall [26]."""
SMALLER_IMAGES = (416, 320)
"""The guide's steps where memory is short [25]."""
WORKERS = 8
"""The guide's data-loading processes [7]."""
RESTART_LR0, RESTART_EPOCHS = 0.005, 50
"""The guide's warm restart [30]."""
_FACTOR = 10


def lower_lr0(run: Run) -> dict[str, ParamValue]:
    """A tenth of lr0, but neither above the usual one nor below what still learns; empty where it is there already."""
    if _is_transformer(run) and not run.is_adam_like:
        return {"optimizer": "AdamW", "lr0": TRANSFORMER_LR0}
    if run.optimizer.lower() == "auto":
        # `auto` ignores lr0 and chooses 0.01 or less: a lower one needs an optimizer by name too.
        return {"optimizer": "SGD", "lr0": LEAST_LR0[False]}
    lr0 = run.number("lr0", USUAL_LR0[False])
    lower = min(max(lr0 / _FACTOR, _least_lr0(run)), _usual_lr0(run))
    return {"lr0": _rounded(lower)} if lower < lr0 else {}


def has_high_lr0(run: Run) -> bool:
    """Whether lr0 is known to be above the usual one."""
    return run.optimizer.lower() != "auto" and run.number("lr0", 0.0) > _usual_lr0(run)


def validates_in_half_precision(run: Run) -> bool:
    """Whether ultralytics validates that run in half precision, which it does on a GPU unless amp is off."""
    return run.params.get("amp", True) is not False and run.params.get("device") != "cpu"


def without_half_precision(run: Run) -> dict[str, ParamValue]:
    """Full precision in training and validation; empty where the run has it already."""
    return {"amp": False} if validates_in_half_precision(run) else {}


def full_precision(run: Run) -> dict[str, ParamValue]:
    """Full precision for RT-DETR, in which mixed precision leads to NaN; for other models it is not the usual cause."""
    return without_half_precision(run) if _is_transformer(run) else {}


def named_optimizer(run: Run) -> dict[str, ParamValue]:
    """Name an optimizer and its usual rate where ultralytics chose both; `tune train` takes one by name only."""
    if run.optimizer.lower() != "auto":
        return {}
    if _is_transformer(run):
        return {"optimizer": "AdamW", "lr0": TRANSFORMER_LR0}
    return {"optimizer": "SGD", "lr0": USUAL_LR0[False]}


def longer_warm_up(run: Run) -> dict[str, ParamValue]:
    """At most a sixth of the plan; empty where it is as long already."""
    longer = min(LONG_WARM_UP, (run.planned_epochs or 300) // 6)
    return {"warmup_epochs": longer} if run.number("warmup_epochs", 3.0) < longer else {}


def higher_lr0(run: Run) -> dict[str, ParamValue]:
    """The usual lr0 where the run has one that crawls; else empty."""
    if run.optimizer.lower() == "auto":  # it ignores lr0
        return {}
    crawls = run.number("lr0", USUAL_LR0[False]) <= _least_lr0(run)
    return {"lr0": _usual_lr0(run)} if crawls else {}


def weaker_augmentation(run: Run) -> dict[str, ParamValue]:
    """Half the mosaics and no mixup; empty where it is as weak already."""
    changes: dict[str, ParamValue] = {}
    if run.number("mosaic", 1.0) > WEAKER_MOSAIC:
        changes["mosaic"] = WEAKER_MOSAIC
    if run.number("mixup", 0.0) > 0:
        changes["mixup"] = 0.0
    return changes


def stronger_regularisation(run: Run) -> dict[str, ParamValue]:
    """More weight decay, the guide's strong augmentation and less patience, each where the run has less of it.

    No dropout, which the guide has too: in ultralytics 8.4 it acts on classification heads only. And no copy_paste,
    which needs polygon labels.
    """
    strong = {"weight_decay": WEIGHT_DECAY, **augmentation_of(1.0)}
    del strong["copy_paste"]
    changes: dict[str, ParamValue] = {name: value for name, value in strong.items() if _is_weaker(run, name, value)}
    patience = run.number("patience", 100)
    if patience == 0 or patience > PATIENCE:
        changes["patience"] = PATIENCE
    return changes


def warm_restart(run: Run) -> dict[str, ParamValue]:
    """A short run from the best checkpoint, which brings no optimizer state; empty where there is none any more."""
    if not run.best_weights:
        return {}
    start: dict[str, ParamValue] = {"model": run.best_weights, "pretrained": True, "epochs": RESTART_EPOCHS}
    if _is_transformer(run):
        return {**start, "optimizer": "AdamW", "lr0": TRANSFORMER_LR0}
    return {**start, "optimizer": "SGD", "lr0": RESTART_LR0}


def other_optimizer(run: Run) -> dict[str, ParamValue]:
    """AdamW and its usual lr0; empty where the optimizer is like it already."""
    if run.is_adam_like:
        return {}
    return {"optimizer": "AdamW", "lr0": TRANSFORMER_LR0 if _is_transformer(run) else USUAL_LR0[True]}


def less_memory(run: Run) -> dict[str, ParamValue]:
    """Half the batch, or smaller images where that is 1 already."""
    batch = run.number("batch", 16)
    if batch >= 2 and batch == int(batch):
        return {"batch": int(batch) // 2}
    if 0 < batch < 2:
        smaller = [size for size in SMALLER_IMAGES if size < run.number("imgsz", 640)]
        return {"imgsz": smaller[0]} if smaller else {}
    return {"batch": 8}  # an automatic size, which was too much


def faster_loading(run: Run) -> dict[str, ParamValue]:
    """Mixed precision, images kept on the disk as arrays and the guide's workers, each where the run has it not."""
    changes: dict[str, ParamValue] = {}
    if run.params.get("amp", True) is False:
        changes["amp"] = True
    if run.params.get("cache", False) is False:
        changes["cache"] = "disk"
    if run.number("workers", WORKERS) < WORKERS:
        changes["workers"] = WORKERS
    return changes


_DEFAULTS = {"weight_decay": 0.0005, **augmentation_of(0.5)}
"""Those of ultralytics, which are the guide's medium preset."""


def _is_transformer(run: Run) -> bool:
    return run.columns.name == RT_DETR.name


def _usual_lr0(run: Run) -> float:
    return TRANSFORMER_LR0 if _is_transformer(run) else USUAL_LR0[run.is_adam_like]


def _least_lr0(run: Run) -> float:
    return LEAST_TRANSFORMER_LR0 if _is_transformer(run) else LEAST_LR0[run.is_adam_like]


def _is_weaker(run: Run, name: str, value: float) -> bool:
    return run.number(name, _DEFAULTS[name]) < value


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
