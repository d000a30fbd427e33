"""Work on many files in several processes: threads of Python would take turns."""

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
"""Items that a process takes at a time: handing over costs little then, and the end is not waited for long."""


def in_processes(
    work: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    hear: Callable[[int], None] = lambda done: None,
    num_processes: int | None = None,
) -> Iterator[Result]:
    """What `work` makes of each batch of the items, in their order.

    Args:
        work: a function of a module, or a partial of one: other processes must find it by its name.
        hear: told how many items are done, now and then.
        num_processes: by default, as many as there are cores for this process. One batch needs none.

    Raises:
        BrokenProcessPool: a process died, killed or crashed over a file.
    """
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    num_processes = min(num_processes or len(os.sched_getaffinity(0)), len(batches))
    if num_processes <= 1:
        yield from _told(map(work, batches), batches, hear)
        return
    # A fork has what is imported already. Nothing has started threads before, which it would be without.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(num_processes, context, initializer=_begin) as pool:
        try:
            yield from _told(pool.map(work, batches), batches, hear)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches the whole terminal; the parent ends the pool


def _told(
    results: Iterable[Result], batches: Sequence[Sequence[Item]], hear: Callable[[int], None]
) -> Iterator[Result]:
    done = 0
    for batch, result in zip(batches, results, strict=True):
        done += len(batch)
        hear(done)
        yield result
