"""Whether Ray still lives. Its client would wait a minute and then end this process without a word of ours."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import ray

_PERIOD_S = 1.0

_SILENCE_S = 20.0
"""A cluster that has not answered for so long is lost; a busy one answers in milliseconds."""

_OWN_SERVERS = frozenset({"gcs_server", "raylet"})


@contextlib.contextmanager
def watched(on_loss: Callable[[str], None]) -> Iterator[None]:
    """Ask Ray for a sign of life all the time; `on_loss` is called once, in a thread, with what is the matter."""
    servers = [child for child in psutil.Process().children() if child.name() in _OWN_SERVERS]
    done = threading.Event()
    answered_s = time.monotonic()

    def ask() -> None:
        nonlocal answered_s
        while not done.wait(_PERIOD_S):
            with contextlib.suppress(Exception):  # no answer, whatever it is called
                ray.nodes()
                answered_s = time.monotonic()

    def watch() -> None:
        while not done.wait(_PERIOD_S):
            dead = [server for server in servers if not _runs(server)]
            if dead or time.monotonic() - answered_s > _SILENCE_S:
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
