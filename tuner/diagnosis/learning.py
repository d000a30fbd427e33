"""Rules for problems with learning: one for each condition, a pure function of the run.

A rule returns None if it cannot decide. `LEARNING` lists causes before their consequences: the loss of a diverged run
does not fall either, and a run whose loss does not fall has no mAP.
"""

from collections.abc import Callable
from math import inf

from tuner.contract import ParamValue
from tuner.diagnosis import remedies
from tuner.diagnosis.curves import (
    CURVE_EPOCHS,
    Curve,
    best,
    box_loss,
    fall,
    first,
    has_risen,
    judged_from,
    last,
    metric,
    reversals,
    since,
    train_loss,
)
from tuner.diagnosis.divergence import NOTHING_MAP50, diverged
from tuner.diagnosis.findings import Condition, Finding
from tuner.diagnosis.overfitting import overfitting
from tuner.diagnosis.runs import Run
from tuner.diagnosis.validation import blind_validation, no_validation_labels

REVERSAL, REVERSAL_SHARE = 0.15, 0.3
"""Relative size of a reversal, and its share of epochs. Measured share: at most 0.03 in healthy runs, 0.10 with 12
images."""
LEARNS_BY = 1 / 3
"""Progress by which the loss has fallen and mAP has risen: epoch 100 of 300 [guide 15]."""
HARDLY = 0.1
"""Relative decrease below which a loss does not fall; the guide's example goes from 2.5 to 2.3 (0.08) within 50 of 300
epochs [26]."""
HIGH_BOX_LOSS, LOW_MAP50 = 2.0, 0.2
"""Box loss (at its default weight) and mAP50: from epoch 50 of 300 the guide expects a lower loss, higher mAP [14]."""
FIRST_PHASE_EPOCHS = 50
"""Epochs in which mAP may still be near 0 [14]."""
SCRATCH_EPOCHS = 300
"""Epochs that the guide plans from scratch [1, 7]."""
STUCK_EPOCHS = 20
"""Minimum number of epochs without a rise; the guide's example goes from 0.45 to 0.46 in the last 100 of 300 [30]."""
OK_MAP50, OK_MAP = 0.6, 0.4
"""Targets of the guide above which a flat curve has converged [19]."""


def oscillating(run: Run) -> Finding | None:
    """Detect a training loss that oscillates from epoch to epoch [15, 21]."""
    curve = since(train_loss(run), run.warm_up_epochs + 1)
    turns = reversals(curve, REVERSAL)
    if len(curve) < CURVE_EPOCHS or len(turns) < REVERSAL_SHARE * len(curve):
        return None
    changes = remedies.lower_lr0(run)
    return Finding(
        condition=Condition.OSCILLATING,
        epochs=(curve[0][0], curve[-1][0]),
        evidence=f"the training loss reverses by {REVERSAL:.0%} or more at {len(turns)} of {len(curve)} epochs, "
        f"between {min(v for _, v in curve):.3g} and {max(v for _, v in curve):.3g}",
        advice="lower the learning rate: above 0.1, training oscillates instead of converging"
        if changes
        else "use a larger batch and check the labels: the learning rate is already low",
        changes=changes,
    )


def loss_not_falling(run: Run) -> Finding | None:
    """Detect a training loss that does not fall [15, 26]."""
    curve = train_loss(run)
    if len(curve) < judged_from(run) or best(metric(run, "mAP50"), inf) >= LOW_MAP50 or last(curve) <= 0:
        return None
    shown = curve if fall(first(curve), last(curve)) < HARDLY else since(curve, round(run.last_epoch / 2))
    if shown is not curve and (run.progress < LEARNS_BY or not _is_high_and_flat(shown, run)):
        return None
    begin, end = first(shown), last(shown)
    advice, changes = _against_high_loss(run)
    return Finding(
        condition=Condition.LOSS_NOT_FALLING,
        epochs=(shown[0][0], shown[-1][0]),
        evidence=f"the training loss goes from {begin:.3g} to {end:.3g} ({-fall(begin, end):+.0%}), "
        f"and mAP50 does not exceed {best(metric(run, 'mAP50'), 0.0):.3f}",
        advice=advice,
        changes=changes,
    )


def not_learning(run: Run) -> Finding | None:
    """Detect an mAP that stays near 0 although the training loss falls [15]."""
    curve = metric(run, "mAP50")
    is_over = run.planned_epochs is not None and run.progress >= 1
    enough = run.last_epoch >= FIRST_PHASE_EPOCHS and run.progress >= LEARNS_BY
    if not curve or best(curve, 0.0) >= NOTHING_MAP50 or not (enough or (is_over and run.last_epoch >= CURVE_EPOCHS)):
        return None
    too_short = not enough and run.from_scratch is not False
    labels = (
        "check the labels: classes, coordinates, whether they match their images, and whether the val split has objects"
    )
    return Finding(
        condition=Condition.NOT_LEARNING,
        epochs=(curve[0][0], curve[-1][0]),
        evidence=f"mAP50 does not exceed {best(curve, 0.0):.4f} in {run.last_epoch} epochs",
        advice=f"train longer: a run this short may not find anything yet; if that does not help, {labels}"
        if too_short
        else labels,
        changes={"epochs": SCRATCH_EPOCHS} if too_short else {},
    )


def plateau(run: Run) -> Finding | None:
    """Detect an mAP that is stuck below the targets in the last third [30]."""
    recent = since(metric(run, "mAP50-95"), round(run.last_epoch * 2 / 3))
    if run.progress < 2 / 3 or len(recent) < STUCK_EPOCHS:
        return None
    is_fair = best(metric(run, "mAP50"), 0.0) >= OK_MAP50 or best(metric(run, "mAP50-95"), 0.0) >= OK_MAP
    if is_fair or has_risen(recent, recent[0][0]) or best(metric(run, "mAP50"), 1.0) < NOTHING_MAP50:
        return None
    advice, changes = _against_plateau(run)
    return Finding(
        condition=Condition.PLATEAU,
        epochs=(recent[0][0], recent[-1][0]),
        evidence=f"mAP50-95 goes from {first(recent):.3f} to {last(recent):.3f} in the last {len(recent)} epochs",
        advice=advice,
        changes=changes,
    )


def _against_high_loss(run: Run) -> tuple[str, dict[str, ParamValue]]:
    changes = remedies.higher_lr0(run)
    if changes:
        return "raise the learning rate: it is so low that training is very slow", changes
    changes = remedies.weaker_augmentation(run)
    check = "check the labels first: coordinates, classes, and whether they match their images; more images help"
    return (f"{check}, and weaker augmentation may help" if changes else check), changes


def _against_plateau(run: Run) -> tuple[str, dict[str, ParamValue]]:
    changes = remedies.warm_restart(run)
    if changes:
        return "restart from the best checkpoint with a higher learning rate and a fresh optimizer", changes
    changes = remedies.other_optimizer(run)
    return ("train with another optimizer" if changes else "use more images or a larger model"), changes


def _is_high_and_flat(curve: Curve, run: Run) -> bool:
    """Check whether a stretch of the training loss is long, flat, and above the guide's value for the box loss."""
    is_flat = fall(first(curve), last(curve)) < HARDLY
    return len(curve) >= CURVE_EPOCHS and is_flat and last(box_loss(run)) >= HIGH_BOX_LOSS


LEARNING: tuple[Callable[[Run], Finding | None], ...] = (
    diverged,
    no_validation_labels,
    blind_validation,
    oscillating,
    loss_not_falling,
    overfitting,
    not_learning,
    plateau,
)
