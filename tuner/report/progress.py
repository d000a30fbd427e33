"""Show a running study: as a live table on a terminal, as plain lines elsewhere."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from optuna.trial import TrialState
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tuner.comparison.reevaluation import Reevaluation
from tuner.cost.forecast import Forecast, Position
from tuner.report.conclusion import conclusion_lines
from tuner.search.search import Search
from tuner.space import Space
from tuner.study import ReadableStudy, StudyPaths, StudySpec
from tuner.system.printable import printable
from tuner.training.final_run import FinalRun, Winner, standing

logger = logging.getLogger("tuner")

COST_PREFIX = "cost   "
"""Beginning of each line of the cost estimate."""

_PLAIN_INTERVAL_S = 60.0
_LIVE_REFRESHES_PER_S = 2.0


class View:
    """Progress of a run on one console; `prefix` precedes the commands that it suggests."""

    def __init__(self, console: Console, *, plain: bool, prefix: str = "") -> None:
        self._console = console
        self._prefix = prefix
        self._plain = plain or not console.is_terminal

    def note(self, line: str) -> None:
        """Print one permanent line, and log it."""
        logger.info("%s", printable(line))
        self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(printable(line), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def subject(self, spec: StudySpec, space: Space, notes: Sequence[str] = ()) -> None:
        """Print the first lines: data set, model and search space."""
        images = ", ".join(f"{number} {split}" for split, number in spec.num_images.items())
        shipped = " (the bundled sample data set)" if spec.data.startswith("sample") else ""
        self.note(f"data   {spec.data}{shipped}: {images} images, {spec.num_classes} classes")
        self.note(f"model  {spec.model}, {spec.num_parameters:,} parameters")
        rungs = ", ".join(map(str, spec.rungs)) or "none"
        self.note(
            f"space  {spec.space_name}: {len(space.searched)} searched parameters, {space.settings.trials} trials "
            f"of {spec.epochs} epochs; rungs: {rungs}; metric: {spec.metric}"
        )
        if spec.warm_start:
            self.note(f"start  the default configuration, then {len(spec.warm_start)} of the warm start")
        for warning in (*notes, *space.warnings):
            self.note(f"warning: {warning}")

    def cost_estimate(self, lines: Sequence[str]) -> None:
        """Print the cost estimate of the run."""
        for line in lines:
            self.note(f"{COST_PREFIX}{line}")

    @contextmanager
    def watching(self, search: Search, slots: object, forecast: Forecast) -> Iterator[None]:
        """Show the search while the block runs."""
        self.note(f"slots  {slots}")
        progress = SearchProgress(search, forecast)
        with self._shown(progress.line, lambda: live_table(search.live, progress.line())):
            yield

    @contextmanager
    def watching_reevaluation(self, reevaluation: Reevaluation, forecast: Forecast) -> Iterator[None]:
        """Show the re-evaluation runs while the block runs."""
        plan = reevaluation.known.plan
        named = ", ".join(map(str, plan.candidates))
        self.note(
            f"re-evaluating trial {named} and the default configuration on fresh seeds: "
            f"at most {plan.max_runs} runs of {reevaluation.epochs} epochs"
        )
        began = time.monotonic()

        def line() -> str:
            return reevaluation_line(reevaluation, time.monotonic() - began, forecast)

        with self._shown(line, lambda: live_table(reevaluation.live, line())):
            yield

    @contextmanager
    def watching_final_run(self, final_run: FinalRun) -> Iterator[None]:
        """Show the final run while the block runs."""
        request = final_run.request
        self.note(f"final run of trial {request.trial}: {request.epochs} epochs in {request.directory}")
        began = time.monotonic()

        def line() -> str:
            return final_run_line(final_run, time.monotonic() - began)

        with self._shown(line, lambda: Text(line())):
            yield

    @contextmanager
    def _shown(self, line: Callable[[], str], image: Callable[[], RenderableType]) -> Iterator[None]:
        """Print a line at regular intervals, or show a live image, while the block runs."""
        if self._plain:
            with _every(_PLAIN_INTERVAL_S, lambda: self._print(line())):
                yield
            return
        with Live(
            console=self._console,
            get_renderable=image,
            refresh_per_second=_LIVE_REFRESHES_PER_S,
            transient=True,
        ):
            yield

    def conclusion(self, study: ReadableStudy, winner: Winner, paths: StudyPaths) -> None:
        """Print the result, the paths of the files and the next commands."""
        for text in conclusion_lines(study, winner, paths, self._prefix):
            self.note(text)


class SearchProgress:
    """Counts, best value and remaining time of a search, from its state in memory."""

    def __init__(self, search: Search, forecast: Forecast, now_s: Callable[[], float] = time.monotonic) -> None:
        self._search = search
        self._forecast = forecast
        self._now_s = now_s
        self._began = now_s()
        self._trained_before = self.position().trained
        self._first_s = 0.0
        """Time in seconds at which no epoch of this driver had ended yet, as last seen."""

    @property
    def num_done(self) -> int:
        return sum(trial.state.is_finished() for trial in self._search.trials)

    @property
    def num_wanted(self) -> int:
        """Number of requested trials; larger if an earlier run requested more."""
        return max(self._search.target, len(self._search.trials))

    def position(self) -> Position:
        """Return the progress of each trial."""
        live = dict(self._search.live)
        begun: dict[str, list[int]] = {"training": [], "paused": [], "ended": []}
        for trial in (trial for trial in self._search.trials if trial.params):
            epoch = max(trial.facts.epochs or 0, live[trial.number].epoch if trial.number in live else 0)
            waits = "paused" if trial.is_paused else "training"
            begun["ended" if trial.state.is_finished() else waits].append(epoch)
        to_begin = self.num_wanted - sum(map(len, begun.values()))
        return Position(to_begin=to_begin, **{which: tuple(epochs) for which, epochs in begun.items()})

    @property
    def elapsed_s(self) -> float:
        return self._now_s() - self._began

    def counts(self) -> dict[str, int]:
        """Return the number of trials in each state."""
        states = [trial.state for trial in self._search.trials]
        named = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        waiting = states.count(TrialState.WAITING)
        counts = {"running": len(self._search.live), **{s.name.lower(): states.count(s) for s in named}}
        return {**counts, "waiting": waiting} if waiting else counts

    def pace_s(self) -> float | None:
        """Return the wall time of an epoch in seconds; None if it is not known yet."""
        before, trained = self._trained_before, self.position().trained
        if trained == before:
            self._first_s = self.elapsed_s
        return self._forecast.pace_s(before=before, trained=trained, elapsed_s=self.elapsed_s, first_s=self._first_s)

    def eta_s(self) -> float | None:
        """Return the seconds to the end of the search; None if the pace is not known yet."""
        pace = self.pace_s()
        if pace is None:
            return None
        left = self._forecast.search_epochs(self.position()) * pace
        bound = self._search.time_left_s()
        return left if bound is None else min(left, bound)

    def line(self) -> str:
        """Return the progress on one line."""
        counts = ", ".join(f"{number} {name}" for name, number in self.counts().items())
        done = f"{self.num_done}/{self.num_wanted} trials ({counts})"
        return f"{done}; {standing(self._search.study)}; {duration(self.elapsed_s)}{self._left()}"

    def _left(self) -> str:
        eta, pace = self.eta_s(), self.pace_s()
        if eta is None or pace is None:
            return ""
        return f", about {duration(eta)} of search left{_then(self._forecast, pace, comparison=True)}"


class LiveRow(Protocol):
    """State of a running trial or re-evaluation run."""

    @property
    def label(self) -> str:
        """Trial number, with the seed if it matters."""

    epoch: int
    value: float | None
    seconds: float
    memory_gib: float
    device: str


def live_table(live: Mapping[int, LiveRow], line: str) -> Group:
    """Return the live view: one row for each running trial, and the totals."""
    table = Table(box=None, pad_edge=False)
    for name in ("trial", "epoch", "metric", "s/epoch", "GiB", "device"):
        table.add_column(name, justify="left" if name == "device" else "right")
    for _, row in sorted(dict(live).items()):
        table.add_row(
            row.label,
            str(row.epoch or "…"),
            "" if row.value is None else f"{row.value:.4f}",
            f"{row.seconds / row.epoch:.1f}" if row.epoch else "",
            f"{row.memory_gib:.1f}" if row.memory_gib else "",
            Text(printable(row.device)),
        )
    return Group(table, Text(line, style="bold"))


def reevaluation_line(reevaluation: Reevaluation, elapsed_s: float, forecast: Forecast) -> str:
    """Return the progress of the re-evaluation on one line."""
    known, so_far = reevaluation.known, reevaluation.verdict
    live = dict(reevaluation.live)
    counts = f"{len(known.runs)} of at most {known.plan.max_runs} runs ({len(live)} running)"
    lead = ""
    if so_far.leader is not None and so_far.gain is not None:
        ahead = f"{abs(so_far.gain):.4f} {'ahead of' if so_far.gain >= 0 else 'behind'} the default configuration"
        lead = f"; trial {so_far.leader} is {ahead} on {so_far.seeds} seeds"
    left, pace = "", reevaluation.epoch_seconds()
    if pace:
        trained = len(known.runs) * reevaluation.epochs + sum(run.epoch for run in live.values())
        to_train = known.plan.max_runs * reevaluation.epochs - trained
        most = duration(to_train * pace / max(len(live), 1))
        left = f", at most {most} of re-evaluation left{_then(forecast, pace, comparison=False)}"
    return f"re-evaluation: {counts}{lead}; {duration(elapsed_s)}{left}"


def _then(forecast: Forecast, pace_s: float, *, comparison: bool) -> str:
    """Return the parts of the run that follow, and their duration."""
    comparison_s, full_run_s = forecast.comparison_s(pace_s) if comparison else 0.0, forecast.full_run_s(pace_s)
    parts = [f"at most {duration(comparison_s)} of re-evaluation"] if comparison_s else []
    parts += [f"about {duration(full_run_s)} of final run at this pace"] if full_run_s else []
    return f", then {' and '.join(parts)}" if parts else ""


def final_run_line(final_run: FinalRun, elapsed_s: float) -> str:
    """Return the progress of the final run on one line."""
    latest, total = final_run.latest, final_run.request.epochs
    if latest is None:
        return f"final run: starting, {duration(elapsed_s)}"
    best = "" if final_run.best is None else f", best so far {final_run.best:.4f}"
    left = duration(latest.seconds * (total - latest.epoch))
    return f"final run: epoch {latest.epoch}/{total}{best}; {duration(elapsed_s)}, about {left} left"


def duration(seconds: float) -> str:
    """Format seconds as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))


@contextmanager
def _every(interval_s: float, act: Callable[[], None]) -> Iterator[None]:
    """Call `act` in a thread at this interval while the block runs."""
    done = threading.Event()

    def loop() -> None:
        while not done.wait(interval_s):
            act()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
