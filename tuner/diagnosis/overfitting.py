"""Detect a run that memorises its training images [guide 28]."""

from tuner.diagnosis import remedies
from tuner.diagnosis.curves import (
    CURVE_EPOCHS,
    Curve,
    around,
    best,
    fall,
    first,
    has_risen,
    last,
    metric,
    since,
    smoothed,
    train_loss,
    val_loss,
)
from tuner.diagnosis.findings import Condition, Finding
from tuner.diagnosis.runs import Run

RISEN = 0.1
"""Relative rise of the validation loss from its minimum."""
APART = 3.0
"""Validation loss / training loss. The guide's overfitted run has 4 [28]; measured 3 and 5, healthy runs end at 1."""
FALLEN, LEAST_MAP = 0.2, 0.1
"""Relative fall of mAP50-95 from its maximum, and the smallest maximum that counts; below it a fall may be chance."""
LEARNT = 0.1
"""Relative fall of the training loss in the same epochs."""
GOOD_MAP50 = 0.7
"""mAP50 from which a result is good [19] and needs no remedy, however far apart the losses are."""

Sign = tuple[tuple[int, int], str]
"""First and last epoch, and one line of evidence."""


def overfitting(run: Run) -> Finding | None:
    """Detect validation that gets worse, or is far worse than training, while training improves and mAP does not."""
    train = since(train_loss(run), run.warm_up_epochs + 1)
    val = since(val_loss(run), run.warm_up_epochs + 1)
    if len(train) < CURVE_EPOCHS or best(metric(run, "mAP50"), 0.0) >= GOOD_MAP50:
        return None
    sign = _rising_loss(run, train, val) or _losses_apart(run, train, val) or _falling_map(run, train)
    if sign is None:
        return None
    changes = remedies.stronger_regularisation(run)
    return Finding(
        condition=Condition.OVERFITTING,
        epochs=sign[0],
        evidence=sign[1],
        advice="add images, which helps most; "
        + ("otherwise regularise more" if changes else "regularisation is already strong"),
        changes=changes,
    )


def _rising_loss(run: Run, train: Curve, val: Curve) -> Sign | None:
    if len(val) < CURVE_EPOCHS:
        return None
    turn, lowest = min(smoothed(val), key=lambda point: point[1])
    has_learnt = fall(around(train, turn), last(train)) >= LEARNT
    # Late in a good run the validation loss may rise a little while mAP still rises too.
    if last(val) <= (1 + RISEN) * lowest or not has_learnt or has_risen(metric(run, "mAP50-95"), turn):
        return None
    shown = f"the validation loss rose from {lowest:.3g} in epoch {turn} to {last(val):.3g}, {_training(train)}"
    return (turn, val[-1][0]), shown


def _losses_apart(run: Run, train: Curve, val: Curve) -> Sign | None:
    if len(val) < CURVE_EPOCHS or last(val) < APART * last(train) or fall(first(train), last(train)) < LEARNT:
        return None
    if has_risen(metric(run, "mAP50-95"), round(run.last_epoch * 2 / 3)):
        return None
    times = last(val) / last(train)
    shown = (
        f"the validation loss is {last(val):.3g}, {times:.1f} times the training loss, which fell to {last(train):.3g}"
    )
    return (val[0][0], val[-1][0]), shown


def _falling_map(run: Run, train: Curve) -> Sign | None:
    curve = metric(run, "mAP50-95")
    if len(curve) < CURVE_EPOCHS:
        return None
    top, highest = max(smoothed(curve), key=lambda point: point[1])
    if highest < LEAST_MAP or last(curve) > (1 - FALLEN) * highest or fall(around(train, top), last(train)) < LEARNT:
        return None
    if has_risen(curve, round(run.last_epoch * 2 / 3)):
        return None
    shown = f"mAP50-95 fell from {highest:.3f} in epoch {top} to {last(curve):.3f}, {_training(train)}"
    return (top, curve[-1][0]), shown


def _training(train: Curve) -> str:
    return f"while the training loss fell to {last(train):.3g}"
