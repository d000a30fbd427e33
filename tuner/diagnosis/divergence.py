"""When a run has diverged: its log says so, a figure is no number, or a loss has exploded."""

from tuner.contract import Outcome
from tuner.diagnosis import remedies
from tuner.diagnosis.curves import best, broken_epochs, broken_figures, metric, since, train_loss, val_loss
from tuner.diagnosis.findings import Condition, Finding
from tuner.diagnosis.runs import Run

EXPLODED_TRAIN = 1.5
"""Times the loss of the first epoch. Of detectors that learnt anything none came near (docs/decisions-benchmark.md). A
search ends such a trial at its first epoch like that (`tuner.decisions.divergence`)."""
EXPLODED_VAL = 10_000.0
"""Times the training loss of the same epoch. Measured: 100 millions and more where lr0 is 0.3 or 1; up to 108 in single
early epochs of healthy runs under SGD, 551 with wrong labels."""
EXPLODED_EPOCHS = 3
"""So many of them at least."""
RECOVERED_MAP50 = 0.1
"""A run that finds objects has come back from whatever it was."""

Shown = tuple[tuple[int, int], str]
"""The epochs, and one line of what they show."""


def diverged(run: Run) -> Finding | None:
    """NaN, infinity, or a loss that has exploded [guide 15, 27]."""
    shown = _told(run) or _broken(run) or _exploded(run) or _exploded_in_validation(run)
    if shown is None:
        return None
    changes = {**remedies.lower_lr0(run), **remedies.longer_warm_up(run)}
    return Finding(
        condition=Condition.DIVERGED,
        epochs=shown[0],
        evidence=shown[1],
        advice="lower the learning rate and warm up longer; if it diverges again, look at the data: pictures that "
        "cannot be read, boxes without a size or outside their picture",
        changes=changes,
    )


def _told(run: Run) -> Shown | None:
    if run.outcome is not Outcome.DIVERGED:
        return None
    return (run.last_epoch, run.last_epoch), f"the trainer ended it: {run.message or 'the loss became NaN'}"


def _broken(run: Run) -> Shown | None:
    broken = broken_epochs(run)
    if not broken or best(since(metric(run, "mAP50"), broken[-1].epoch + 1), 0.0) >= RECOVERED_MAP50:
        return None
    names = ", ".join(broken_figures(broken[0]))
    return (broken[0].epoch, broken[-1].epoch), f"NaN or infinite in {len(broken)} epoch(s): {names}"


def _exploded(run: Run) -> Shown | None:
    curve = train_loss(run)
    high = [epoch for epoch, value in curve[-EXPLODED_EPOCHS:] if value > EXPLODED_TRAIN * curve[0][1]]
    if len(curve) <= EXPLODED_EPOCHS or len(high) < EXPLODED_EPOCHS:
        return None
    return (high[0], high[-1]), f"the training loss is {curve[-1][1]:.3g}, after {curve[0][1]:.3g} in the first epoch"


def _exploded_in_validation(run: Run) -> Shown | None:
    train = dict(train_loss(run))
    high = [(epoch, value) for epoch, value in val_loss(run) if value > EXPLODED_VAL * train.get(epoch, value)]
    if len(high) < EXPLODED_EPOCHS or best(metric(run, "mAP50"), 0.0) >= RECOVERED_MAP50:
        return None
    worst = max(value for _, value in high)
    return (high[0][0], high[-1][0]), f"the validation loss reaches {worst:.3g} in {len(high)} epochs"
