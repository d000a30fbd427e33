"""Put the end of a run into words: the winner, its final run, the files, and the next commands."""

from pathlib import Path
from shlex import quote

from optuna.trial import TrialState

from tuner.cost.actual import full_run_times, search_times
from tuner.diagnosis import finding_lines, summary_lines
from tuner.report.card import latency_lines
from tuner.study import ReadableStudy, StudyPaths, best_trial
from tuner.training.card import read_card
from tuner.training.final_run import Winner


def conclusion_lines(study: ReadableStudy, winner: Winner, paths: StudyPaths, prefix: str = "") -> list[str]:
    """Return the last lines of a run."""
    spec, trial = study.spec, winner.trial
    best = best_trial(study.trials())
    is_best = best is None or best.number == trial.number
    of_search = "" if is_best or best is None else f"; best in the search: trial {best.number}, {best.value:.4f}"
    score = f"{spec.metric} {trial.value:.4f} after {spec.epochs} epochs{of_search}"
    lines = ["", f"{'Best' if is_best else 'Chosen'}: trial {trial.number}, {score}"]
    lines += [f"    {name} = {value}" for name, value in sorted(trial.sampled.items())]
    lines.append(winner.said())
    noted = study.final_run
    is_trained = noted is not None and noted.state == TrialState.COMPLETE.name and noted.trial == trial.number
    if noted is not None and is_trained:
        values = ", ".join(f"{name} {value:.4f}" for name, value in (noted.metrics or {}).items())
        lines += [
            f"Final run ({noted.epochs} epochs){': ' if values else ''}{values}",
            f"    weights     {noted.checkpoint}",
            *(f"    {line}" for line in latency_lines(read_card(study, paths))),
            *(f"    {line}" for line in (*summary_lines(Path(noted.directory)), *full_run_times(study))),
        ]
    else:
        lines += [f"    {line}" for line in finding_lines(paths.trial(trial.number))]
    lines += [f"    {line}" for line in search_times(study)]
    lines += [f"    parameters  {paths.params}"]
    lines += [f"    report      {paths.report}"] if paths.report.exists() else []
    lines += [f"    all files   {paths.root}", "Next:"]
    return [*lines, *_next_commands(study, paths, prefix, promotes=not (is_trained or winner.nothing_learnt))]


def _next_commands(study: ReadableStudy, paths: StudyPaths, prefix: str, *, promotes: bool) -> list[str]:
    """Return the next commands, each with its purpose."""
    home = paths.root.parent
    which = study.name if home == Path("studies").absolute() else f"{study.name} --home {quote(str(home))}"
    commands = {
        f"tune status {which}": "list all trials",
        f"tune dashboard {which}": "show them in a browser",
        f"yolo train cfg={quote(str(paths.params))}": "train the configuration again with plain ultralytics",
    }
    if promotes:
        commands = {f"tune promote {which}": "train the winner in full", **commands}
    quoted = quote(prefix) if prefix else ""
    return [line for command, what in commands.items() for line in (f"    {quoted}{command}", f"        {what}")]
