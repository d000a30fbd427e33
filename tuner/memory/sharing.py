"""Choose how many trials share a GPU, by memory and by speed. Pure functions: the caller measures."""

from collections.abc import Callable
from dataclasses import dataclass

MOST = 4
"""Maximum number of trials that are tried on one GPU."""

GAIN = 1.15
"""Factor by which twice as many trials on a GPU must train more images per second together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharing:
    """Chosen number of trials per GPU, and the measurements behind it."""

    trials_per_gpu: int
    rates: tuple[tuple[int, float | None], ...]
    """Numbers of trials that trained on one GPU at once, with their images per second together; None if they failed."""
    why: str
    """Reason why there are no more, in words."""


def chosen_sharing(
    fits: Callable[[int], bool], images_per_s: Callable[[int], float | None], *, wanted: int = MOST
) -> Sharing:
    """Double the trials on a GPU while each has memory enough and together they train more.

    Args:
        fits: Tells whether the largest batch and image size fit into the memory that each of this many trials has.
        images_per_s: Trains this many trials at once on one GPU, and returns their images per second together; None if
            they cannot train together.
        wanted: Number of trials per GPU that the run has a use for; no more than four are tried.
    """
    chosen = 1
    rates: list[tuple[int, float | None]] = []
    while chosen < MOST:
        more = 2 * chosen
        if more > wanted:
            why = f"the run has no use for {more}"
            return Sharing(trials_per_gpu=chosen, rates=tuple(rates), why=why)
        if not fits(more):
            return Sharing(
                trials_per_gpu=chosen,
                rates=tuple(rates),
                why=f"the largest batch and image size do not fit into 1/{more} of its memory",
            )
        if not rates:
            rates.append((1, images_per_s(1)))
        before, now = rates[-1][1], images_per_s(more)
        rates.append((more, now))
        if now is None or before is None:
            return Sharing(trials_per_gpu=chosen, rates=tuple(rates), why=f"{more} could not train together")
        if now < GAIN * before:
            return Sharing(
                trials_per_gpu=chosen,
                rates=tuple(rates),
                why=f"{more} train {now / before:.2f} times as many images per second, less than {GAIN:g} times",
            )
        chosen = more
    return Sharing(trials_per_gpu=chosen, rates=tuple(rates), why="more are not tried")
