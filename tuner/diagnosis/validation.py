"""Rules for problems with the validation of a run whose training is healthy."""

import math
from collections.abc import Iterator, Sequence

from tuner.diagnosis import remedies
from tuner.diagnosis.columns import scores
from tuner.diagnosis.curves import best, broken, first, last, score, train_loss
from tuner.diagnosis.divergence import RECOVERED_MAP50, broken_in_training, broken_in_validation
from tuner.diagnosis.findings import Condition, Finding
from tuner.diagnosis.runs import Run, RunEpoch

LASTING_SHARE = 1 / 3
"""Share of the validated epochs for a finding; fewer lead to a note only, unless they are the last ones."""
LASTING_EPOCHS = 3


def validation_overflow(run: Run) -> Finding | None:
    """Detect validation losses that are not finite although the model finds objects, so the model is fine."""
    found = _lasting(run)
    reached = _best_score(run, found)
    if not found or reached < RECOVERED_MAP50:
        return None
    return Finding(
        condition=Condition.VALIDATION_OVERFLOW,
        epochs=(found[0].epoch, found[-1].epoch),
        evidence=f"{_lost(run, found)}, where {scores(run.columns.task)[1]} reaches {reached:.3f}; {_trained(run)}",
        advice="keep the learning rate: the training is healthy, and best.pt is chosen by metrics, not by this loss. "
        + _cause(run),
    )


def blind_validation(run: Run) -> Finding | None:
    """Detect validation losses that are not finite and a model that finds nothing, with a finite training loss."""
    found = _lasting(run)
    reached = _best_score(run, found)
    if len(found) < LASTING_EPOCHS or reached >= RECOVERED_MAP50:
        return None
    return Finding(
        condition=Condition.VALIDATION_OVERFLOW,
        epochs=(found[0].epoch, found[-1].epoch),
        evidence=f"{_lost(run, found)}, where {scores(run.columns.task)[1]} is at most {reached:.3f}; {_trained(run)}",
        advice="validate weights/last.pt in full precision, as yolo val model=weights/last.pt does. If that finds "
        "objects, half precision is the cause: train with amp=False. If it finds none, the model has diverged: lower "
        "the learning rate",
        changes=remedies.without_half_precision(run),
    )


def no_validation_labels(run: Run) -> Finding | None:
    """Detect a validation split without objects: its metrics and its box loss are 0 or NaN."""
    name = scores(run.columns.task)[1]
    validated = [epoch for epoch in run.epochs if name in (epoch.metrics or {})]
    values = [(epoch.metrics or {})[name] for epoch in validated]
    if len(validated) < LASTING_EPOCHS or any(broken(epoch.train) or broken(epoch.val) for epoch in validated):
        return None
    if all(math.isnan(value) for value in values):
        shown = f"the metrics are NaN in all {len(validated)} validated epochs"
    elif all(value == 0 or math.isnan(value) for value in values) and _has_no_boxes(run, validated):
        shown = f"the metrics and the box loss in validation are 0 in all {len(validated)} validated epochs"
    else:
        return None
    return Finding(
        condition=Condition.NO_VALIDATION_LABELS,
        epochs=(validated[0].epoch, validated[-1].epoch),
        evidence=shown,
        advice="add the labels of the validation split: tune data check lists the images without labels and the "
        "location where ultralytics looks for them",
    )


def validation_notes(run: Run) -> Iterator[str]:
    """Yield one line for each kind of values that are not finite, if no finding covers them."""
    trained, validated = broken_in_training(run), broken_in_validation(run)
    if trained:
        yield f"a training loss is NaN or infinite in {_where(trained)}, but the run has recovered since"
    if validated:
        yield f"a validation loss is NaN or infinite in {_where(validated)}, while the training losses are finite"
    measured = [epoch for epoch in run.epochs if broken(epoch.metrics)]
    if measured:
        yield f"NaN or infinite in {_where(measured)}: {', '.join(broken(measured[0].metrics))}"


def _cause(run: Run) -> str:
    if not remedies.validates_in_half_precision(run):
        return (
            "Half precision is not the cause because the run does not use it: check the labels of the validation split"
        )
    cause = "Validation runs in half precision, where a loss can overflow"
    if not run.columns.takes_our_arguments:
        return cause
    return f"{cause}; amp=False validates in full precision, but trains more slowly and takes more memory"


def _lasting(run: Run) -> tuple[RunEpoch, ...]:
    """Return the epochs whose validation losses are not finite, if they are many or the last ones."""
    found = broken_in_validation(run)
    validated = [epoch for epoch in run.epochs if epoch.val]
    is_last = len(validated) >= LASTING_EPOCHS and all(epoch in found for epoch in validated[-LASTING_EPOCHS:])
    return found if is_last or len(found) >= LASTING_SHARE * len(validated) else ()


def _best_score(run: Run, epochs: Sequence[RunEpoch]) -> float:
    numbers = {epoch.epoch for epoch in epochs}
    return best(tuple(point for point in score(run) if point[0] in numbers), 0.0)


def _has_no_boxes(run: Run, epochs: Sequence[RunEpoch]) -> bool:
    """Check whether the box loss (the first loss) is 0 in every epoch while another loss is not."""
    name = run.columns.losses[0] if run.columns.losses else ""
    losses = [epoch.val or {} for epoch in epochs]
    return all(parts.get(name) == 0 for parts in losses) and any(any(parts.values()) for parts in losses)


def _lost(run: Run, epochs: Sequence[RunEpoch]) -> str:
    names = ", ".join(dict.fromkeys(name for epoch in epochs for name in broken(epoch.val)))
    validated = sum(epoch.val is not None for epoch in run.epochs)
    return f"val {names} loss NaN or infinite in {len(epochs)} of {validated} validated epochs"


def _trained(run: Run) -> str:
    loss = train_loss(run)
    return f"the training loss goes from {first(loss):.3g} to {last(loss):.3g}" if loss else "the training continues"


def _where(epochs: Sequence[RunEpoch]) -> str:
    begin, end = epochs[0].epoch, epochs[-1].epoch
    if len(epochs) == 1:
        return f"epoch {begin}"
    is_gapless = end - begin + 1 == len(epochs)
    return f"epochs {begin} to {end}" if is_gapless else f"{len(epochs)} of the epochs {begin} to {end}"
