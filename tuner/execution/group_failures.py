"""Choose the GPUs of a run on several of them after failures, which do not say which GPU is at fault."""

from collections.abc import Callable, Sequence

from tuner.execution.slot_health import FAILURES, Place, SlotHealth

_MAX_ATTEMPTS = 8
"""Maximum number of failed attempts in a row without an epoch; enough to find one working GPU of four."""


class GroupFailures:
    """Failed attempts of one run by the GPUs that it used, each counted until the GPU has trained an epoch.

    GPUs that have failed less often come first. As in a search, two failures are needed before a GPU is doubted. If all
    are, half of them are tried, then the other half, then quarters: one faulty GPU spoils every group that it is in.
    """

    def __init__(self, health: SlotHealth) -> None:
        """Start with the GPUs that the search holds already."""
        self._health = health
        self._failures: dict[Place, int] = {}
        self._in_a_row = 0

    @property
    def has_any(self) -> bool:
        """True if a GPU has failed, here or in the search, and has not trained an epoch since."""
        return bool(self._failures) or self._health.holds_any

    def of_node(self, node: str) -> int:
        """Return the number of failures on a machine, by Ray's identifier."""
        return sum(number for place, number in self._failures.items() if place.node == node)

    def note_epoch(self, group: Sequence[Place]) -> None:
        """Note that these GPUs have trained an epoch together."""
        self._in_a_row = 0
        for place in group:
            self._failures.pop(place, None)

    def note_failure(self, group: Sequence[Place]) -> None:
        """Note that an attempt on these GPUs has failed, one place for each GPU."""
        self._in_a_row += 1
        for place in group:
            self._failures[place] = self._of(place) + 1

    def chosen(self, gpus: Sequence[Place], number_for: Callable[[int], int]) -> tuple[Place, ...]:
        """Choose GPUs of one machine for the next attempt.

        Args:
            gpus: GPUs that the run has there, one place each.
            number_for: Returns the number of GPUs that suits the run if there are this many.

        Returns:
            The GPUs in their order; empty if nothing is left to try.
        """
        if not gpus or self._in_a_row >= _MAX_ATTEMPTS:
            return ()
        least = min(map(self._of, gpus))
        if least < FAILURES:
            working = sorted((place for place in gpus if self._of(place) < FAILURES), key=self._of)
            number = number_for(len(working))
        else:
            working = [place for place in gpus if self._of(place) == least]
            number = number_for(min(len(working), number_for(len(gpus)) >> (least - FAILURES + 1)))
        chosen = set(working[:number])
        return tuple(place for place in gpus if place in chosen)

    def _of(self, place: Place) -> int:
        return self._failures.get(place, FAILURES if self._health.is_held(place) else 0)
