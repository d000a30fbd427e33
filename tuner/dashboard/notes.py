"""Write the notes on a study and on its trials, in Markdown."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote

from optuna.trial import TrialState

from tuner.dashboard.artifacts import FINAL_RUN, PARAMS, REPORT
from tuner.dashboard.attributes import role, study_state, why
from tuner.dashboard.facts import StudyFacts
from tuner.dashboard.markdown import code, escaped, shell, table
from tuner.report.page.records.provenance import command_of
from tuner.storage.urls import masked, sqlite_url
from tuner.study import TrialRecord
from tuner.training.final_run import standing

_HEADINGS = {
    TrialState.COMPLETE: "Complete",
    TrialState.PRUNED: "Stopped early",
    TrialState.FAIL: "Failed",
    TrialState.RUNNING: "Running",
    TrialState.WAITING: "Waiting",
}


def study_note(facts: StudyFacts, trials: str, files: Mapping[str, str]) -> str:
    """Return the note on a study: the result, the trials and files behind it, and the next commands.

    Args:
        facts: State of the study.
        trials: Address of its list of trials.
        files: Addresses of its artifacts by their name.
    """
    sentence = standing(facts)
    parts = [
        f"**{escaped(sentence[:1].upper() + sentence[1:])}**",
        table(_study_rows(facts, trials, files)),
        "Commands:",
        shell(commands(facts)),
    ]
    return "\n\n".join(parts)


def trial_note(facts: StudyFacts, trial: TrialRecord, files: Mapping[str, str]) -> str:
    """Return the note on a trial: why it ended, how it was trained, and where its files are.

    Args:
        facts: State of the study.
        trial: One of its trials.
        files: Addresses of the trial's artifacts by their name.
    """
    heading = _HEADINGS[facts.state(trial)]
    named = role(facts, trial)
    parts = [f"**{heading}**: {escaped(why(facts, trial))}.", table(_trial_rows(facts, trial, files))]
    if named:
        parts.insert(0, f"*{escaped(named[:1].upper() + named[1:])}*")
    if trial.params:
        values = " ".join(code(f"{name}={value}") for name, value in sorted(trial.params.items()))
        parts.append(f"Arguments of the trainer: {values}")
    return "\n\n".join(parts)


def commands(facts: StudyFacts) -> list[tuple[str, str]]:
    """Return the commands that are useful now, each with its purpose."""
    which = quote(facts.name) + _options(facts)
    listed = [(f"tune status {which}", "list the trials"), (f"tune report {which}", "write the report")]
    if facts.winner is not None:
        listed.append((f"tune export {which}", "write the winner's configuration to params.yaml"))
    if facts.winner is not None and (facts.final_run is None or facts.is_final_run_cut_off):
        purpose = "resume the final run" if facts.is_final_run_cut_off else "train the winner in full"
        listed.append((f"tune promote {which}", purpose))
    if facts.driver is None and any(not trial.state.is_finished() for trial in facts.records):
        purpose = "resume" if facts.command else "resume: the command that started the study, with all its options"
        listed.append((command_of(facts) + ("" if facts.command else _options(facts)), purpose))
    return listed


def _options(facts: StudyFacts) -> str:
    """Return the options that find the study from any folder; a password of the database is left out."""
    home = f" --home {quote(str(facts.paths.root.parent))}"
    return home if facts.url == sqlite_url(facts.paths.database) else f"{home} --storage {quote(masked(facts.url))}"


def _study_rows(facts: StudyFacts, trials: str, files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    spec, winner, final_run = facts.spec, facts.winner, facts.final_run
    yield "State", escaped(study_state(facts))
    yield "Trials", escaped(_counts(facts))
    if winner is not None and winner.baseline is not None:
        yield "Default configuration", _link(winner.baseline, spec.metric, trials)
    if winner is not None:
        yield "Winner of the search", _link(winner.trial, spec.metric, trials)
    known = facts.comparison
    if known is not None:
        yield "Re-evaluation", f"{len(known.runs)} runs on fresh seeds have ended"
    if final_run is not None:
        reached = ", ".join(f"{name} {value:.4f}" for name, value in (final_run.metrics or {}).items())
        state = "interrupted" if facts.is_final_run_cut_off else _HEADINGS[TrialState[final_run.state]].lower()
        said = f"trial {final_run.trial}, {final_run.epochs} epochs, {state}"
        yield "Final run", escaped(": ".join(filter(None, (said, reached or final_run.reason))))
        if final_run.checkpoint:
            yield "Weights", _place(final_run.checkpoint, f"{FINAL_RUN}{Path(final_run.checkpoint).name}", files)
    if PARAMS in files:
        yield "Parameters", _place(str(facts.paths.params), PARAMS, files)
    yield "Report", f"[open]({files[REPORT]})"
    yield "Folder", code(str(facts.paths.root))
    yield "Database", code(masked(facts.url))
    yield "Model", f"{code(spec.model)}, {spec.num_parameters:,} parameters"
    yield "Data set", code(spec.data)
    yield "Versions", escaped(", ".join(f"{name} {version}" for name, version in sorted(spec.versions.items())))


def _counts(facts: StudyFacts) -> str:
    """Return the number of trials in each state, such as "5 complete, 2 stopped early"."""
    states = [facts.state(trial) for trial in facts.records]
    counts = [f"{states.count(state)} {heading.lower()}" for state, heading in _HEADINGS.items() if state in states]
    return ", ".join(counts) or "none yet"


def _link(trial: TrialRecord, metric: str, trials: str) -> str:
    value = "" if trial.value is None else f": {escaped(metric)} {trial.value:.4f}"
    return f"[trial {trial.number}]({trials}?numbers={trial.number}){value}"


def _place(path: str, name: str, files: Mapping[str, str]) -> str:
    """Return the place of a file, with a link if the dashboard offers it."""
    return f"{code(path)} ([open]({files[name]}))" if name in files else code(path)


def _trial_rows(facts: StudyFacts, trial: TrialRecord, files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    recorded, span = trial.facts, facts.last_spans.get(trial.number)
    if recorded.epochs is not None:
        took = "" if recorded.seconds is None else f", {recorded.seconds / 60:.1f} min of training"
        yield "Epochs", f"{recorded.epochs} of {facts.spec.epochs}{took}"
    yield "Seed", str(facts.spec.seed)
    if recorded.device:
        slot = "" if span is None else f", slot {span.slot}"
        yield "Device", escaped(f"{recorded.device}{slot}")
    if recorded.scan:
        yield "Selective scan", escaped(recorded.scan)
    if recorded.memory_gib is not None:
        yield "Peak memory", f"{recorded.memory_gib:.2f} GiB"
    if recorded.batch is not None:
        yield "Batch size", str(recorded.batch)
    if recorded.attempts is not None:
        yield "Attempts", str(recorded.attempts)
    for attempt in recorded.failed_attempts or ():
        yield "Failed attempt", escaped(f"{attempt.failure} after epoch {attempt.epoch}: {attempt.cause}")
    yield from _reevaluation_rows(facts, trial)
    if recorded.log:
        yield "Log", _place(recorded.log, Path(recorded.log).name, files)
    if recorded.directory:
        yield "Folder", code(recorded.directory)


def _reevaluation_rows(facts: StudyFacts, trial: TrialRecord) -> Iterator[tuple[str, str]]:
    known = facts.comparison
    for run in known.runs if known is not None else ():
        if run.trial == trial.number:
            reached = run.reason if run.value is None else f"{facts.spec.metric} {run.value:.4f}"
            yield f"Re-evaluation, seed {run.seed}", escaped(reached)
