"""Asynchronous successive halving, stopping variant: Li et al., MLSys 2020 (arXiv 1810.05934), algorithm 2.

Departs from the paper in that a trial is stopped at its rung instead of being paused for a later promotion, and
from Ray's and Optuna's versions in that a rung with fewer than η values judges nobody: with two values, the
second of two equally good configurations would die for a hair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Curves = Mapping[int, Mapping[int, float]]
"""Metric by trial number and epoch (1-based); higher is better; validated epochs only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asha:
    """Keeps the best 1/η of the trials that have reached a rung so far."""

    rungs: tuple[int, ...]
    """Increasing epochs."""
    reduction_factor: int
    """η."""

    def verdict(self, trial: int, epoch: int, curves: Curves) -> str | None:
        """Why the trial should stop after this epoch, or none to go on.

        Only what other trials showed at this very epoch counts, so the verdict depends on the order of arrival
        and on nothing else: after a restart the same curves give the same verdicts. Equal values never stop a
        trial: before a detector has learnt anything, every mAP is 0.
        """
        if epoch not in self.rungs:
            return None
        arrived = [curve[epoch] for curve in curves.values() if epoch in curve]
        if len(arrived) < self.reduction_factor:
            return None
        value = curves[trial][epoch]
        places = len(arrived) // self.reduction_factor
        if _number_better(value, arrived) < places:
            return None
        return (
            f"early stop at epoch {epoch}: {value:.4f} is not among the best {places} "
            f"of {len(arrived)} trials at this rung"
        )


def _number_better(value: float, others: Sequence[float]) -> int:
    return sum(other > value for other in others)
