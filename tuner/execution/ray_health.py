"""Watch whether Ray is alive; Ray's own client would wait a minute, then end this process without our message."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import psutil
import ray

_PERIOD_S = 1.0

_SILENCE_S = 20.0
"""Time without an answer after which a cluster counts as lost, in seconds; a busy one answers in milliseconds."""

_SILENCE_AT_THE_END_S = 5.0
"""Time without an answer while the run is ending, in seconds; the cause of the end may have stopped Ray too."""

_OWN_SERVERS = frozenset({"gcs_server", "raylet"})


@contextlib.contextmanager
def watched(on_loss: Callable[[str], None], is_ending: Callable[[], bool]) -> Iterator[None]:
    """Check every second whether Ray is alive, for the duration of the block.

    Args:
        on_loss: Receives the reason, once, in a thread.
        is_ending: Returns True if the run has been asked to end and cannot wait long.
    """
    servers = [child for child in psutil.Process().children() if child.name() in _OWN_SERVERS]
    done = threading.Event()
    silent = 0  # counted in periods, which do not pass while this process is suspended (Ctrl+Z), unlike a clock

    def ask() -> None:
        nonlocal silent
        while not done.wait(_PERIOD_S):
            with contextlib.suppress(Exception):  # any error counts as no answer
                ray.nodes()
                silent = 0

    def watch() -> None:
        nonlocal silent
        while not done.wait(_PERIOD_S):
            silent += 1
            dead = [server for server in servers if not _runs(server)]
            if dead or silent * _PERIOD_S > (_SILENCE_AT_THE_END_S if is_ending() else _SILENCE_S):
                on_loss("Ray's servers on this machine have died" if dead else "the Ray cluster does not answer")
                return

    threads = [threading.Thread(target=act, name=f"ray-{act.__name__}", daemon=True) for act in (ask, watch)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
