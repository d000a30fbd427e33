"""Detect divergence: reported in the log, a training loss that is NaN, an exploding loss, or a collapsed mAP."""

import math

from tuner.contract import Outcome
from tuner.diagnosis import remedies
from tuner.diagnosis.columns import Task, scores
from tuner.diagnosis.curves import best, broken, fall, first, last, score, since, train_loss, val_loss
from tuner.diagnosis.findings import Condition, Finding
from tuner.diagnosis.runs import Run, RunEpoch
from tuner.divergence import exploded

EXPLODED_VAL = 10_000.0
"""Validation loss as a multiple of the training loss of the same epoch. Measured: 100 million and more with lr0 of 0.3
or 1; up to 108 in single early epochs of healthy runs with SGD, 551 with wrong labels."""
EXPLODED_EPOCHS = 3
"""Minimum number of epochs with an exploded training or validation loss."""
RECOVERED_MAP50 = 0.1
"""mAP50 from which a run has recovered, since it finds objects."""
NOTHING_MAP50 = 0.02
"""mAP50 below which a run finds nothing; measured 0.00 to 0.01 with labels of other images."""
FALLEN_LOSS = 0.1
"""Relative decrease of the training loss from which a run is learning."""
_MOST_NAMED = 4

Shown = tuple[tuple[int, int], str]
"""First and last epoch, and one line of evidence."""


def diverged(run: Run) -> Finding | None:
    """Detect NaN, infinity, an exploding loss, or a model that no longer finds anything [guide 15, 27]."""
    shown = _told(run) or _broken(run) or _exploded(run) or _exploded_in_validation(run) or _collapsed(run)
    if shown is None:
        return None
    return Finding(
        condition=Condition.DIVERGED,
        epochs=shown[0],
        evidence=shown[1],
        advice="lower the learning rate and warm up longer; if it diverges again, check the data for unreadable images "
        "and for boxes that are empty or outside their image",
        changes={**remedies.lower_lr0(run), **remedies.longer_warm_up(run), **remedies.full_precision(run)},
    )


def broken_in_training(run: Run) -> tuple[RunEpoch, ...]:
    """Return the epochs in which any training loss is NaN or infinite."""
    return tuple(epoch for epoch in run.epochs if broken(epoch.train))


def broken_in_validation(run: Run) -> tuple[RunEpoch, ...]:
    """Return the epochs with a NaN or infinite validation loss and finite training losses."""
    return tuple(epoch for epoch in run.epochs if broken(epoch.val) and not broken(epoch.train))


def _told(run: Run) -> Shown | None:
    if run.outcome is not Outcome.DIVERGED:
        return None
    return (run.last_epoch, run.last_epoch), f"the trainer stopped: {run.message or 'the loss became NaN'}"


def _broken(run: Run) -> Shown | None:
    found = broken_in_training(run)
    if not found or _has_recovered(run, found[-1].epoch):
        return None
    return _told_broken(found)


def _told_broken(epochs: tuple[RunEpoch, ...]) -> Shown:
    names = _broken_values(epochs[0])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    number = f"{len(epochs)} epochs" if len(epochs) > 1 else "1 epoch"
    shown = f"NaN or infinite in {number}: {', '.join(names[:_MOST_NAMED])}{more}"
    return (epochs[0].epoch, epochs[-1].epoch), shown


def _broken_values(epoch: RunEpoch) -> list[str]:
    """List the values of an epoch that are NaN or infinite, in words."""
    train = (f"train {name} loss" for name in broken(epoch.train))
    val = (f"val {name} loss" for name in broken(epoch.val))
    return [*train, *val, *broken(epoch.metrics)]


def _has_recovered(run: Run, epoch: int) -> bool:
    """Check whether the model finds objects after an epoch, or more than before; a classifier also guesses right."""
    after = best(since(score(run), epoch + 1), 0.0)
    before = best(tuple(point for point in score(run) if point[0] <= epoch), 0.0)
    if after >= RECOVERED_MAP50 and run.columns.task is not Task.CLASSIFY:
        return True
    return after >= NOTHING_MAP50 and after > before


def _exploded(run: Run) -> Shown | None:
    """Detect an exploding training loss over several epochs; a search stops a trial at the first such epoch."""
    curve = train_loss(run)
    ratio = exploded(best(score(run), 0.0) > 0)
    high = [epoch for epoch, value in curve[-EXPLODED_EPOCHS:] if value > ratio * curve[0][1]]
    if len(curve) <= EXPLODED_EPOCHS or len(high) < EXPLODED_EPOCHS:
        return None
    return (
        high[0],
        high[-1],
    ), f"the training loss is {curve[-1][1]:.3g}, up from {curve[0][1]:.3g} in epoch {curve[0][0]}"


def _exploded_in_validation(run: Run) -> Shown | None:
    train = dict(train_loss(run))
    if best(score(run), 0.0) >= RECOVERED_MAP50:
        return None
    high = [(epoch, value) for epoch, value in val_loss(run) if value > EXPLODED_VAL * train.get(epoch, value)]
    if len(high) >= EXPLODED_EPOCHS:
        worst = max(value for _, value in high)
        return (high[0][0], high[-1][0]), (
            f"the validation loss is above {EXPLODED_VAL:,.0f} times the training loss in {len(high)} epochs, "
            f"up to {worst:.3g}"
        )
    endless = broken_in_validation(run)
    if len(endless) < EXPLODED_EPOCHS or _may_be_half_precision(run):
        return None
    return _told_broken(endless)


def _may_be_half_precision(run: Run) -> bool:
    """Check whether the training is healthy, so that validation in half precision may be the cause."""
    curve = train_loss(run)
    learns = fall(first(curve), last(curve)) >= FALLEN_LOSS
    return learns and remedies.validates_in_half_precision(run) and not remedies.has_high_lr0(run)


def _collapsed(run: Run) -> Shown | None:
    name = scores(run.columns.task)[1]
    validated = [epoch for epoch in run.epochs if name in (epoch.metrics or {})]
    values = [(epoch.metrics or {})[name] for epoch in validated]
    found = [value if math.isfinite(value) else 0.0 for value in values]
    recent = validated[-EXPLODED_EPOCHS:]
    # If the validation losses are not finite either, half precision may be the cause: see `tuner.diagnosis.validation`.
    if len(found) <= EXPLODED_EPOCHS or any(broken(epoch.val) or broken(epoch.metrics) for epoch in recent):
        return None
    highest = max(found)
    if highest < RECOVERED_MAP50 or max(found[-EXPLODED_EPOCHS:]) >= NOTHING_MAP50:
        return None
    begin = next(i for i in range(len(found)) if max(found[i:]) < NOTHING_MAP50)
    return (validated[begin].epoch, validated[-1].epoch), f"{name} fell from {highest:.3f} to {found[-1]:.3f}"
