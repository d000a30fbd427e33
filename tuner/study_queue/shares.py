"""Divide the devices of a cluster among the studies of a queue: a pure function."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Claim:
    """A study that could use devices."""

    number: int
    priority: int
    most: int | None
    """Maximum number of devices that it can use; None for all."""


def shares(claims: Iterable[Claim], devices: int) -> dict[int, int]:
    """Return the number of devices of each study.

    A higher priority is served before a lower one. Within a priority, all get the same, except those that can use less
    (max-min fairness); what cannot be divided goes to those that came first.

    Args:
        claims: Studies that are not over.
        devices: Number of devices of the cluster.
    """
    ordered = sorted(claims, key=lambda claim: (-claim.priority, claim.number))
    granted: dict[int, int] = {}
    left = devices
    for _, group in groupby(ordered, key=lambda claim: claim.priority):
        level = _fair(list(group), left)
        granted |= level
        left -= sum(level.values())
    return granted


def _fair(claims: list[Claim], devices: int) -> dict[int, int]:
    """Divide devices among claims of one priority, equally until a claim has what it can use."""
    granted = {claim.number: 0 for claim in claims}
    left = devices
    while left and (unserved := [claim for claim in claims if granted[claim.number] < _limit(claim, devices)]):
        each = max(1, left // len(unserved))
        for claim in unserved:
            more = min(each, left, _limit(claim, devices) - granted[claim.number])
            granted[claim.number] += more
            left -= more
    return granted


def _limit(claim: Claim, devices: int) -> int:
    return devices if claim.most is None else min(claim.most, devices)
