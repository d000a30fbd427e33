"""Follow a study that another process drives; read its record only."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live

from tuner.exceptions import MachineError
from tuner.report.live.of_record import recorded_forecast, recorded_snapshot
from tuner.report.live.render import rendered
from tuner.report.live.snapshot import Snapshot
from tuner.storage.lease import HeartbeatWatch
from tuner.study import StoredStudy, StudyPaths
from tuner.system.printable import printable
from tuner.training.final_run import standing, waiting

_REFRESHES_PER_S = 2.0


def watch(study: StoredStudy, paths: StudyPaths, console: Console, *, interval_s: float, plain: bool) -> None:
    """Show the progress of a study until its run ends; return at once if nobody drives it.

    Args:
        study: Study to follow.
        paths: Paths of the study.
        console: Console to show it on; without a terminal, events are printed as they happen.
        interval_s: Seconds between two looks at the record.
        plain: True to print events on a terminal too.

    Raises:
        MachineError: The driver has died.
        StorageError: The database cannot be used.
    """
    driver = HeartbeatWatch(study.url, study.name)
    forecast = recorded_forecast(study)
    with _screen(console, plain=plain) as screen:
        while driver.look() is not None:
            problem = driver.problem()
            screen.show(recorded_snapshot(study.snapshot(), paths, forecast, problem=problem))
            if problem.endswith("has died"):
                break
            time.sleep(interval_s)
    ended = study.snapshot()
    left = waiting(ended.trials())
    if driver.problem():
        raise MachineError(f"{driver.problem()}; run the same command again to continue.")
    _print(console, f"{study.name}: {'stopped' if left else 'finished'}{left and f', {left}'}; {standing(ended)}")


class _Screen:
    """Place where snapshots are shown: a live view, or lines for events that have not been printed yet."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: tuple[str, ...] = ()
        self.snapshot = Snapshot()
        self.live: Live | None = None

    def show(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        if self.live is not None:
            self.live.refresh()
            return
        for line in filter(None, (*snapshot.events, snapshot.notice)):
            if line not in self._printed:
                _print(self._console, line)
        self._printed = (*snapshot.events, snapshot.notice)

    def image(self) -> Group:
        width, height = self._console.size
        return rendered(self.snapshot, width=width, height=height, ascii_only=self._console.options.ascii_only)


@contextmanager
def _screen(console: Console, *, plain: bool) -> Iterator[_Screen]:
    screen = _Screen(console)
    if plain or not console.is_terminal:
        yield screen
        return
    with Live(
        console=console, get_renderable=screen.image, refresh_per_second=_REFRESHES_PER_S, transient=True
    ) as screen.live:
        yield screen


def _print(console: Console, line: str) -> None:
    console.print(printable(line), markup=False, emoji=False, highlight=False, soft_wrap=True)
