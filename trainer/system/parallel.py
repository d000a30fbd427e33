"""Parallel work on many files in several processes, because Python threads would run one at a time."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from trainer.system.processes import die_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH = 128
"""Items per task of a process: large enough to make handover cheap, small enough to keep the last wait short."""


def in_processes(
    work: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    on_progress: Callable[[int], None] = lambda done: None,
    num_processes: int | None = None,
) -> Iterator[Result]:
    """Yield the result of `work` for each batch of the items, in their order.

    Args:
        work: A function of a module, or a partial of one: other processes must find it by its name.
        items: The items to work on.
        on_progress: Called from time to time with the number of finished items.
        num_processes: Defaults to the number of cores available to this process. A single batch runs without any.

    Raises:
        BrokenProcessPool: A process died: it was killed, or a file made it crash.
    """
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    num_processes = min(num_processes or len(os.sched_getaffinity(0)), len(batches))
    if num_processes <= 1:
        yield from _told(map(work, batches), batches, on_progress)
        return
    # A fork keeps the imported modules. No threads have been started before, which a fork would lose.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(num_processes, context, initializer=_begin) as pool:
        try:
            yield from _told(pool.map(work, batches), batches, on_progress)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches the whole terminal; the parent ends the pool


def _told(
    results: Iterable[Result], batches: Sequence[Sequence[Item]], on_progress: Callable[[int], None]
) -> Iterator[Result]:
    done = 0
    for batch, result in zip(batches, results, strict=True):
        done += len(batch)
        on_progress(done)
        yield result
