"""Describe studies and trials by attributes that people can read and that the dashboard can sort."""

from typing import TypeAlias

from optuna.trial import TrialState

from tuner.dashboard.facts import StudyFacts
from tuner.space import start_point_of
from tuner.study import TrialRecord
from tuner.system.printable import printable
from tuner.training.final_run import standing

Attributes: TypeAlias = dict[str, str | int | float]


def study_attributes(facts: StudyFacts) -> Attributes:
    """Return the attributes of a study, the result first."""
    spec = facts.spec
    images = ", ".join(f"{number} {split}" for split, number in spec.num_images.items())
    seconds = sum(trial.facts.gpu_seconds for trial in facts.records)
    return {
        "result": printable(standing(facts)),
        "state": study_state(facts),
        "model": printable(spec.model),
        "data": printable(f"{spec.data} ({images} images)"),
        "space": printable(spec.space_name),
        "metric": f"{spec.metric}, higher is better",
        "epochs of a complete trial": spec.epochs,
        "rungs": ", ".join(map(str, spec.rungs)) or "none",
        "seed": spec.seed,
        "training time of the trials (GPU-h)": round(seconds / 3600, 2),
        "folder": printable(str(facts.paths.root)),
    }


def study_state(facts: StudyFacts) -> str:
    """Describe who runs a study, or what is left to do."""
    if facts.driver is not None:
        return f"running: {printable(facts.driver)}"
    unfinished = sum(not trial.state.is_finished() for trial in facts.records)
    if facts.is_final_run_cut_off:
        return "not running: its final run is unfinished"
    return f"not running: {unfinished} unfinished trial(s)" if unfinished else "finished"


def trial_attributes(facts: StudyFacts, trial: TrialRecord) -> Attributes:
    """Return the attributes of a trial; what is not recorded is left out."""
    recorded, span = trial.facts, facts.last_spans.get(trial.number)
    known = {
        "role": role(facts, trial) or None,
        "why": printable(why(facts, trial)),
        "epochs": recorded.epochs,
        "minutes": None if recorded.seconds is None else round(recorded.seconds / 60, 2),
        **{name: round(value, 5) for name, value in (recorded.metrics or {}).items() if name != facts.spec.metric},
        "device": None if recorded.device is None else printable(recorded.device),
        "scan": None if recorded.scan is None else printable(recorded.scan),
        "slot": None if span is None else span.slot,
        "share of a GPU": None if recorded.gpu_share is None else round(recorded.gpu_share, 3),
        "seed": facts.spec.seed,
        "memory (GiB)": recorded.memory_gib,
        "attempts": recorded.attempts,
    }
    return {name: value for name, value in known.items() if value is not None}


def role(facts: StudyFacts, trial: TrialRecord) -> str:
    """Return the role of a trial in its study; "" if it is one among others."""
    winner = facts.winner
    names = ["default configuration"] if trial.is_baseline else []
    origin = trial.facts.origin
    names += [f"starting point {printable(start_point_of(origin))}"] if origin else []
    names += ["winner"] if winner is not None and winner.trial.number == trial.number else []
    return ", ".join(names)


def why(facts: StudyFacts, trial: TrialRecord) -> str:
    """Explain the state of a trial in one sentence, without a full stop."""
    if trial.state.is_finished():
        return trial.reason or f"trained for all {facts.spec.epochs} epochs"
    if trial.is_paused:
        return f"paused after epoch {trial.facts.paused_at}; resumes if it turns out to be ahead"
    if facts.driver is None:
        return "interrupted; the command that started the study resumes it"
    return "in training" if trial.state == TrialState.RUNNING else "waits for a slot"
