"""Show what the starting points reached."""

from collections.abc import Iterator, Sequence

from tuner.report.page.content import Section, Table
from tuner.study import TrialRecord


def start_point_section(trials: Sequence[TrialRecord], metric: str) -> Iterator[Section]:
    """Yield the section on the starting points, if one was tried."""
    tried = [trial for trial in trials if trial.facts.origin]
    if not tried:
        return
    default = next((trial.value for trial in trials if trial.is_baseline), None)
    yield Section(
        title=_title(tried, default),
        note="Configurations that the space names; the search tried them before its own. A trial that was stopped "
        "early has the value of its last validated epoch.",
        items=(
            Table(
                header=("trial", "starting point", "epoch", metric),
                rows=tuple((str(trial.number), trial.facts.origin or "", *_last(trial)) for trial in tried),
                numbers=frozenset((0, 2, 3)),
            ),
        ),
    )


def _title(tried: Sequence[TrialRecord], default: float | None) -> str:
    count = f"{len(tried)} starting point{'' if len(tried) == 1 else 's'}"
    if default is None:
        return f"{count} tried"
    better = sum(trial.value is not None and trial.value > default for trial in tried)
    return f"{better} of {count} ended above the default configuration, on one seed"


def _last(trial: TrialRecord) -> tuple[str, str]:
    """Return the last validated epoch and its metric; empty without one."""
    if not trial.curve:
        return "", ""
    epoch = max(trial.curve)
    return str(epoch), f"{trial.curve[epoch]:.4f}"
