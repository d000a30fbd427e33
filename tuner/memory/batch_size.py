"""The largest batch that fits into memory, found by measuring instead of guessing. Pure: whoever asks measures."""

from collections.abc import Callable
from dataclasses import dataclass

from tuner.exceptions import SpaceError

SHARE = 0.9
"""Of the memory that may be filled: epochs differ, and what is freed is not all used again."""
STEP = 8
"""Batches above this are multiples of it, which GPUs compute best."""
MOST = 128
"""A device learns no faster with more [guide 7]."""
_FIRST, _SECOND = 4, 8
_MOST_TRIES = 4

Measure = Callable[[int], float | None]
"""Peak memory in GiB of a few steps with a batch of so many; none where memory ran out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What was chosen, and on what grounds."""

    batch: int
    memory_gib: float
    """Measured with this batch."""
    measured: tuple[tuple[int, float | None], ...]
    """Every batch that was tried, with its memory."""


def fitting_batch(measure: Measure, *, memory_gib: float, most: int) -> Fit:
    """Two small batches, a line through them, and a look at the batch that the line says fits.

    Args:
        measure: trains a few steps.
        memory_gib: what there is, 90 % of which may be filled.
        most: the largest batch worth having, at least 1.

    Raises:
        SpaceError: a batch of 1 does not fit.
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
            f"A batch of 1 must fit into memory, but of {memory_gib:.1f} GiB it leaves too little; "
            "take a smaller imgsz or model."
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
    """The batch at which the line through the two largest batches with a figure meets the budget."""
    (small, low), (large, high) = sorted((batch, used) for batch, used in tried.items() if used is not None)[-2:]
    per_item = (high - low) / (large - small)
    return int(min(small + (budget - low) / per_item, MOST)) if per_item > 0 else MOST


def _rounded(batch: int) -> int:
    return batch // STEP * STEP if batch > STEP else batch
