"""Find slots that fail whatever they train, such as a GPU that is lost, so that nothing starts on them.

A lost GPU fails within seconds, so it is always free, and would take one trial after the other.
"""

from typing import NamedTuple

FAILURES = 2
"""Failed attempts in a row on a slot, without an epoch between them, after which it is held."""


class Place(NamedTuple):
    """Device of a slot."""

    node: str
    """Ray's identifier of the machine."""
    gpus: tuple[str, ...]
    """GPUs that Ray has assigned, as in CUDA_VISIBLE_DEVICES; empty on a CPU."""


class SlotHealth:
    """Failed attempts by the device of a slot. A device that is held gets no further run, unless all of them are held.

    Trials that share a GPU are on one device: their failures count together, and it is held for all of them.

    A run that fails on a slot is avoided there until the slot has got another one: if that fails too, the slot is at
    fault, and else the run may be. Slots without a GPU are never held: nothing tells those of one machine apart.
    """

    def __init__(self, places: int) -> None:
        """Start without failures.

        Args:
            places: Number of devices that the slots are on.
        """
        self._places = places
        self._failures: dict[Place, int] = {}
        self._failed: dict[int, Place] = {}
        """Place of the last failure of a run, by its number, until another run is on this place."""
        self._held: set[Place] = set()

    @property
    def avoided(self) -> frozenset[int]:
        """Numbers of the runs that should start only if there are no others, because the free slot failed with them."""
        return frozenset(self._failed)

    @property
    def holds_any(self) -> bool:
        """True if a slot is held."""
        return bool(self._held)

    def is_held(self, place: Place) -> bool:
        """Check whether nothing should start on a slot."""
        return place in self._held

    def note_run(self, place: Place, number: int) -> None:
        """Note that a run has started on a slot; not that it is still there, because it may share the device."""
        self._failed = {run: at for run, at in self._failed.items() if at != place and run != number}

    def note_epoch(self, place: Place) -> None:
        """Note that a slot has trained an epoch."""
        self._failures.pop(place, None)
        self._held.discard(place)

    def note_failure(self, place: Place, number: int) -> None:
        """Note that the attempt at a run has failed, although the run itself may be in order."""
        if not place.gpus:
            return
        self.note_run(place, number)  # it may have failed before it could say that it had started
        self._failed[number] = place
        self._failures[place] = self._failures.get(place, 0) + 1
        if self._failures[place] < FAILURES:
            return
        self._held.add(place)
        self._failed = {run: at for run, at in self._failed.items() if at != place}  # nothing can start there again
        if len(self._held) >= self._places:  # so the cause is something else
            self._held.clear()
            self._failures.clear()
