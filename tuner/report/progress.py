"""Show a running study: as a live view on a terminal, as plain lines elsewhere.

A view says what it prepares before the slow packages are imported, so this module imports them inside functions.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.live import Live

from tuner.report.live.render import rendered
from tuner.report.live.snapshot import PhaseBar, Snapshot
from tuner.system.printable import printable

if TYPE_CHECKING:
    from tuner.comparison.reevaluation import Reevaluation
    from tuner.cost.forecast import Forecast
    from tuner.search.search import Search
    from tuner.space import Space
    from tuner.study import ReadableStudy, StudyPaths, StudySpec
    from tuner.training.final_run import FinalRun, Winner

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
        self._live: Live | None = None
        self._began_s = time.monotonic()
        self._ended: tuple[PhaseBar, ...] = ()
        self._source: Callable[[], Snapshot] = Snapshot

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the live view while the block runs; inside another one, and without a terminal, change nothing."""
        if self._plain or self._live is not None:
            yield
            return
        self._live = Live(
            console=self._console,
            get_renderable=self._image,
            refresh_per_second=_LIVE_REFRESHES_PER_S,
            transient=True,
        )
        try:
            with self._live:
                yield
        finally:
            self._live = None

    def preparing(self, what: str) -> None:
        """Say what is being prepared, until the next call or phase; in the live view only."""
        logger.info("preparing: %s", what)
        began_s = time.monotonic()

        def snapshot() -> Snapshot:
            waited_s = time.monotonic() - began_s
            return Snapshot(notice=f"{what} ... {f'{waited_s:.0f} s' if waited_s >= 1 else ''}".rstrip())

        self._show(snapshot)

    def note(self, line: str) -> None:
        """Print one permanent line, and log it."""
        logger.info("%s", printable(line))
        self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(printable(line), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def subject(self, spec: "StudySpec", space: "Space", notes: Sequence[str] = ()) -> None:
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
        if spec.start_points:
            from tuner.space import start_point_of

            self.note(f"start  starting points: {', '.join(map(start_point_of, spec.start_points))}")
        for warning in (*notes, *space.warnings):
            self.note(f"warning: {warning}")

    def cost_estimate(self, lines: Sequence[str]) -> None:
        """Print the cost estimate of the run."""
        for line in lines:
            self.note(f"{COST_PREFIX}{line}")

    @contextmanager
    def watching(self, search: "Search", slots: object, forecast: "Forecast") -> Iterator[None]:
        """Show the search while the block runs."""
        from tuner.report.live.of_run import SearchProgress

        self.note(f"slots  {slots}")
        progress = SearchProgress(search, forecast)
        with self._watched(progress.line, progress.snapshot):
            yield

    @contextmanager
    def watching_reevaluation(self, reevaluation: "Reevaluation", forecast: "Forecast") -> Iterator[None]:
        """Show the re-evaluation runs while the block runs."""
        from tuner.report.live.of_run import ReevaluationProgress

        plan = reevaluation.known.plan
        named = ", ".join(map(str, plan.candidates))
        self.note(
            f"re-evaluating trial {named} and the default configuration on fresh seeds: "
            f"at most {plan.max_runs} runs of {reevaluation.epochs} epochs"
        )
        began_s, progress = time.monotonic(), ReevaluationProgress(reevaluation, forecast)

        def line() -> str:
            return progress.line(time.monotonic() - began_s)

        with self._watched(line, lambda: progress.snapshot(time.monotonic() - began_s)):
            yield

    @contextmanager
    def watching_final_run(self, final_run: "FinalRun") -> Iterator[None]:
        """Show the final run while the block runs."""
        from tuner.report.live.of_run import FinalRunProgress

        request = final_run.request
        self.note(f"final run of trial {request.trial}: {request.epochs} epochs in {request.directory}")
        began_s, progress = time.monotonic(), FinalRunProgress(final_run)

        def line() -> str:
            return progress.line(time.monotonic() - began_s)

        with self._watched(line, lambda: progress.snapshot(time.monotonic() - began_s)):
            yield

    def conclusion(self, study: "ReadableStudy", winner: "Winner", paths: "StudyPaths") -> None:
        """Print the result, the paths of the files and the next commands."""
        from tuner.report.conclusion import conclusion_lines

        for text in conclusion_lines(study, winner, paths, self._prefix):
            self.note(text)

    @contextmanager
    def _watched(self, line: Callable[[], str], snapshot: Callable[[], Snapshot]) -> Iterator[None]:
        """Print a line at regular intervals, or show snapshots of a phase, while the block runs."""
        if self._plain:
            with _every(_PLAIN_INTERVAL_S, lambda: self._print(line())):
                yield
            return
        with self.shown():
            self._show(snapshot)
            yield
            phase = snapshot().phases[0]
            self._ended = (*self._ended, replace(phase, share=1.0))
            self.preparing("ending the phase")

    def _show(self, source: Callable[[], Snapshot]) -> None:
        self._source = source
        if self._live is not None:
            self._live.refresh()

    def _image(self) -> RenderableType:
        snapshot = self._source()
        width, height = self._console.size
        return rendered(
            replace(
                snapshot,
                phases=(*self._ended, *snapshot.phases) if snapshot.phases else self._ended,
                current=len(self._ended) if snapshot.phases else max(len(self._ended) - 1, 0),
                elapsed_s=time.monotonic() - self._began_s,
            ),
            width=width,
            height=height,
            ascii_only=self._console.options.ascii_only,
        )


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
