"""Compute changes of parameters from the parameters of a run."""

from tuner.contract import ParamValue
from tuner.diagnosis.columns import RT_DETR
from tuner.diagnosis.runs import Run
from tuner.space import augmentation_of

LEAST_LR0 = {True: 0.0001, False: 0.001}
"""Minimum lr0, True for Adam-like optimizers. The value for SGD is the guide's, below which training is very slow
[21, 27]; Adam has 1/10 of it."""
USUAL_LR0 = {True: 0.001, False: 0.01}
"""The guide's lr0 for training from scratch, True for Adam-like optimizers [21]."""
TRANSFORMER_LR0, LEAST_TRANSFORMER_LR0 = 0.0001, 0.00001
"""Usual and minimum lr0 of RT-DETR with AdamW; SGD and the learning rates of convolutional detectors break it."""
LONG_WARM_UP = 5
"""Warm-up epochs; the guide's usual warm-up has 3 [10]."""
WEIGHT_DECAY, PATIENCE = 0.001, 30
"""The guide's values against overfitting [28]."""
WEAKER_MOSAIC = 0.5
"""The guide's value, together with no mixup, for a loss that does not fall [26]."""
SMALLER_IMAGES = (416, 320)
"""The guide's image sizes for too little memory [25]."""
WORKERS = 8
"""The guide's number of data-loading processes [7]."""
RESTART_LR0, RESTART_EPOCHS = 0.005, 50
"""Values of the guide's warm restart [30]."""
_FACTOR = 10


def lower_lr0(run: Run) -> dict[str, ParamValue]:
    """Divide lr0 by 10, within the range from the minimum to the usual value; empty if it is that low already."""
    if _is_transformer(run) and not run.is_adam_like:
        return {"optimizer": "AdamW", "lr0": TRANSFORMER_LR0}
    if run.optimizer.lower() == "auto":
        # `auto` ignores lr0 and chooses 0.01 or less, so a lower value also needs an explicit optimizer.
        return {"optimizer": "SGD", "lr0": LEAST_LR0[False]}
    lr0 = run.number("lr0", USUAL_LR0[False])
    lower = min(max(lr0 / _FACTOR, _least_lr0(run)), _usual_lr0(run))
    return {"lr0": _rounded(lower)} if lower < lr0 else {}


def has_high_lr0(run: Run) -> bool:
    """Check whether lr0 is known to be above the usual value."""
    return run.optimizer.lower() != "auto" and run.number("lr0", 0.0) > _usual_lr0(run)


def validates_in_half_precision(run: Run) -> bool:
    """Check whether ultralytics validates the run in half precision, as it does on a GPU unless amp is off."""
    return run.params.get("amp", True) is not False and run.params.get("device") != "cpu"


def without_half_precision(run: Run) -> dict[str, ParamValue]:
    """Switch to full precision in training and validation; empty if the run uses it already."""
    return {"amp": False} if validates_in_half_precision(run) else {}


def full_precision(run: Run) -> dict[str, ParamValue]:
    """Switch RT-DETR to full precision, since mixed precision leads to NaN there; other models rarely need it."""
    return without_half_precision(run) if _is_transformer(run) else {}


def named_optimizer(run: Run) -> dict[str, ParamValue]:
    """Set an explicit optimizer and its usual lr0 if ultralytics chose both; `tune train` does not accept `auto`."""
    if run.optimizer.lower() != "auto":
        return {}
    if _is_transformer(run):
        return {"optimizer": "AdamW", "lr0": TRANSFORMER_LR0}
    return {"optimizer": "SGD", "lr0": USUAL_LR0[False]}


def longer_warm_up(run: Run) -> dict[str, ParamValue]:
    """Lengthen the warm-up, to at most 1/6 of the planned epochs; empty if it is that long already."""
    longer = min(LONG_WARM_UP, (run.planned_epochs or 300) // 6)
    return {"warmup_epochs": longer} if run.number("warmup_epochs", 3.0) < longer else {}


def higher_lr0(run: Run) -> dict[str, ParamValue]:
    """Raise lr0 to its usual value if it is at or below the minimum; else empty."""
    if run.optimizer.lower() == "auto":  # it ignores lr0
        return {}
    crawls = run.number("lr0", USUAL_LR0[False]) <= _least_lr0(run)
    return {"lr0": _usual_lr0(run)} if crawls else {}


def weaker_augmentation(run: Run) -> dict[str, ParamValue]:
    """Halve mosaic and disable mixup; empty if augmentation is that weak already."""
    changes: dict[str, ParamValue] = {}
    if run.number("mosaic", 1.0) > WEAKER_MOSAIC:
        changes["mosaic"] = WEAKER_MOSAIC
    if run.number("mixup", 0.0) > 0:
        changes["mixup"] = 0.0
    return changes


def stronger_regularisation(run: Run) -> dict[str, ParamValue]:
    """Increase weight decay and augmentation to the guide's strong values and lower patience, unless already set.

    The guide also uses dropout, which acts only on classification heads in ultralytics 8.4, and copy_paste, which
    needs polygon labels; both are left out.
    """
    strong = {"weight_decay": WEIGHT_DECAY, **augmentation_of(1.0)}
    del strong["copy_paste"]
    changes: dict[str, ParamValue] = {name: value for name, value in strong.items() if _is_weaker(run, name, value)}
    patience = run.number("patience", 100)
    if patience == 0 or patience > PATIENCE:
        changes["patience"] = PATIENCE
    return changes


def warm_restart(run: Run) -> dict[str, ParamValue]:
    """Start a short run from the best checkpoint, without optimizer state; empty if the checkpoint is gone."""
    if not run.best_weights:
        return {}
    start: dict[str, ParamValue] = {"model": run.best_weights, "pretrained": True, "epochs": RESTART_EPOCHS}
    if _is_transformer(run):
        return {**start, "optimizer": "AdamW", "lr0": TRANSFORMER_LR0}
    return {**start, "optimizer": "SGD", "lr0": RESTART_LR0}


def other_optimizer(run: Run) -> dict[str, ParamValue]:
    """Switch to AdamW and its usual lr0; empty if the optimizer is Adam-like already."""
    if run.is_adam_like:
        return {}
    return {"optimizer": "AdamW", "lr0": TRANSFORMER_LR0 if _is_transformer(run) else USUAL_LR0[True]}


def less_memory(run: Run) -> dict[str, ParamValue]:
    """Halve the batch, or use smaller images if the batch is 1 already."""
    batch = run.number("batch", 16)
    if batch >= 2 and batch == int(batch):
        return {"batch": int(batch) // 2}
    if 0 < batch < 2:
        smaller = [size for size in SMALLER_IMAGES if size < run.number("imgsz", 640)]
        return {"imgsz": smaller[0]} if smaller else {}
    return {"batch": 8}  # an automatic batch size that was too large


def faster_loading(run: Run) -> dict[str, ParamValue]:
    """Enable mixed precision, the image cache on disk and the guide's number of workers, unless the run has them."""
    changes: dict[str, ParamValue] = {}
    if run.params.get("amp", True) is False:
        changes["amp"] = True
    if run.params.get("cache", False) is False:
        changes["cache"] = "disk"
    if run.number("workers", WORKERS) < WORKERS:
        changes["workers"] = WORKERS
    return changes


_DEFAULTS = {"weight_decay": 0.0005, **augmentation_of(0.5)}
"""Defaults of ultralytics, which are the guide's medium preset."""


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
