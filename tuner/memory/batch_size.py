"""Find the largest batch that fits into memory. Pure functions: the caller measures."""

from collections.abc import Callable
from dataclasses import dataclass

from tuner.exceptions import SpaceError

SHARE = 0.9
"""Share of the memory to fill: epochs differ, and not all freed memory is reused."""
STEP = 8
"""Batches above this size are multiples of it, which suit GPUs best."""
MOST = 128
"""Largest useful batch: a larger one does not speed up training on a device [guide 7]."""
_FIRST, _SECOND = 4, 8
_MOST_TRIES = 4

Measure = Callable[[int], float | None]
"""Function that returns the peak memory in GiB of a few steps with a given batch; None if out of memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Chosen batch and the measurements behind it."""

    batch: int
    memory_gib: float
    """Peak memory measured with this batch, in GiB."""
    measured: tuple[tuple[int, float | None], ...]
    """All batches tried, with their peak memory in GiB; None if out of memory."""


def fitting_batch(measure: Measure, *, memory_gib: float, most: int) -> Fit:
    """Measure two small batches, extrapolate linearly, and measure the predicted largest batch.

    Args:
        measure: Trains a few steps with a batch.
        memory_gib: Available memory in GiB; at most 90 % of it is used.
        most: Largest useful batch, at least 1.

    Raises:
        SpaceError: A batch of 1 does not fit.
    """
    budget = SHARE * memory_gib
    tried: dict[int, float | None] = {}

    def fits(batch: int) -> bool:
        if batch not in tried:
            tried[batch] = measure(batch)
        used = tried[batch]
        return used is not None and used <= budget

    good = next((batch for batch in (min(_FIRST, most), 2, 1) if batch <= most and fits(batch)), 0)
    if not good:
        raise SpaceError(
            f"A batch of 1 must fit into memory, but {memory_gib:.1f} GiB is too little; "
            "choose a smaller imgsz or model."
        )
    if good == _FIRST and most > good and fits(min(_SECOND, most)):
        good = min(_SECOND, most)
        bad = most + 1
        for _ in range(_MOST_TRIES):
            candidate = _rounded(min(_on_the_line(tried, budget), bad - 1, most))
            if candidate <= good:
                break
            if fits(candidate):
                good = candidate
                break
            bad = candidate
    used = tried[good]
    assert used is not None
    return Fit(batch=good, memory_gib=used, measured=tuple(sorted(tried.items())))


def _on_the_line(tried: dict[int, float | None], budget: float) -> int:
    """Extrapolate linearly from the two largest measured batches to the batch that uses the budget."""
    (small, low), (large, high) = sorted((batch, used) for batch, used in tried.items() if used is not None)[-2:]
    per_item = (high - low) / (large - small)
    return int(min(small + (budget - low) / per_item, MOST)) if per_item > 0 else MOST


def _rounded(batch: int) -> int:
    return batch // STEP * STEP if batch > STEP else batch
