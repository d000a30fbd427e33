"""Restore a search from its study: the rungs follow from the curves, the queue from the states."""

import contextlib
import math
from collections.abc import Callable, Sequence

from optuna.trial import TrialState

from tuner.decisions.decider import Decider
from tuner.decisions.history import History, Status
from tuner.decisions.rungs import Rungs
from tuner.decisions.strategies import Limits, make_engine
from tuner.space import Space, UnitCube
from tuner.study import StudyPaths, StudySpec, TrialRecord
from tuner.trials.attempts import Attempts
from tuner.trials.live import DIVERGED, LiveTrial
from tuner.trials.retry_policy import Failure


def restored_decider(
    spec: StudySpec, space: Space, cube: UnitCube, trials: Sequence[TrialRecord], paths: StudyPaths
) -> Decider:
    """Create the decider of a search with the history of its trials so far."""
    engine = make_engine(
        space.settings.strategy,
        cube.cube,
        Rungs(epochs=spec.rungs, reduction_factor=spec.reduction_factor),
        seed=spec.seed,
        limits=Limits(trials=space.settings.trials),
    )
    history = History(epochs=spec.epochs, dimensions=len(cube.labels))
    for trial in trials:
        if not trial.params:
            continue  # enqueued by the user and not started
        history.begin(cube.point(trial.sampled))
        for epoch, value in trial.curve.items():
            if math.isfinite(value) and epoch <= spec.epochs:
                history.report(trial.number, epoch, value)
        for epoch, loss in (trial.facts.losses or {}).items():
            if epoch <= spec.epochs:
                history.note_loss(trial.number, epoch, loss)
        history.set_status(trial.number, status_of(trial))
    return Decider(engine, history, _decision_log(paths))


def restored_trial(trial: TrialRecord, gpu_share: float = 1.0) -> LiveTrial:
    """Create the running trial that resumes a recorded one, on this share of a GPU."""
    return LiveTrial(
        number=trial.number,
        attempts=Attempts(failed=list(trial.facts.failed_attempts or ()), reached=max(trial.curve, default=0)),
        starts=trial.facts.attempts or 0,
        losses=dict(trial.facts.losses or {}),
        gpu_share=gpu_share,
        earlier_epochs=trial.facts.epochs or 0,
        earlier_gpu_share=1.0 if trial.facts.gpu_share is None else trial.facts.gpu_share,
    )


def status_of(trial: TrialRecord) -> Status:
    """Translate the state of a recorded trial for decisions."""
    lost = trial.reason.startswith(DIVERGED) or trial.facts.failure == Failure.OUT_OF_MEMORY
    match trial.state:
        case TrialState.PRUNED:
            return Status.LOST if lost else Status.STOPPED
        case TrialState.WAITING:
            return Status.PAUSED if trial.is_paused else Status.RUNNING  # interrupted: it resumes before all others
        case TrialState.COMPLETE:
            return Status.COMPLETE
        case TrialState.FAIL:
            return Status.UNKNOWN
        case _:
            return Status.RUNNING


def _decision_log(paths: StudyPaths) -> Callable[[str], None]:
    def log(line: str) -> None:
        # The log is for people only. A full disk shows up in the files that must be written.
        with contextlib.suppress(OSError), paths.decisions.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    return log
