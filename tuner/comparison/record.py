"""Read and write a study's record of its re-evaluation: the plan, the ended runs, and the verdict."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tuner.comparison.contest import ComparisonPlan, Conclusion, ConfigurationResult, Evidence, Verdict
from tuner.study import ReadableStudy, gpu_seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedRun:
    """Run that has ended for good."""

    trial: int
    seed: int
    value: float | None
    """Metric after the last epoch; None if the configuration failed on this seed."""
    reason: str = ""
    """Reason of the failure; "" if there was none."""
    epochs: int = 0
    seconds: float = 0.0
    gpu_share: float = 1.0
    """Share of a GPU that the run had, 0..1."""

    @property
    def gpu_seconds(self) -> float:
        """Training time in GPU-seconds."""
        return gpu_seconds(self.seconds, self.gpu_share)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reevaluated:
    """Re-evaluation of a study so far."""

    plan: ComparisonPlan
    runs: tuple[EndedRun, ...] = ()
    """Ended runs, in the order in which they ended."""
    verdict: Verdict | None = None
    """Verdict; None until the comparison is decided."""

    @property
    def evidence(self) -> Evidence:
        """Runs in the form that `tuner.comparison.verdict` reads; NaN for a failed run."""
        return {(run.trial, run.seed): math.nan if run.value is None else run.value for run in self.runs}

    def judges(self, trial: int | None) -> bool:
        """Check whether a trial took part in the comparison; a trial of a later search did not."""
        return trial in self.plan.trials

    def encoded(self) -> dict[str, Any]:
        """Return the form that the database stores. Its names are older than those of the classes."""
        return {
            "contest": asdict(self.plan),
            "runs": [asdict(run) for run in self.runs],
            "verdict": None if self.verdict is None else _encoded_verdict(self.verdict),
        }


_STORED_NAMES = {"conclusion": "decision", "results": "standings"}
"""Names of the fields of a verdict that the database stores under another name."""


def reevaluated(study: ReadableStudy) -> Reevaluated | None:
    """Return the re-evaluation that a study has stored; None if there is none."""
    facts = study.reevaluation
    if not facts:
        return None
    plan, verdict = facts["contest"], facts["verdict"]
    return Reevaluated(
        plan=ComparisonPlan(**{**plan, "candidates": tuple(plan["candidates"]), "seeds": tuple(plan["seeds"])}),
        runs=tuple(EndedRun(**run) for run in facts["runs"]),
        verdict=None if verdict is None else _decoded_verdict(verdict),
    )


def _encoded_verdict(verdict: Verdict) -> dict[str, Any]:
    return {_STORED_NAMES.get(name, name): value for name, value in asdict(verdict).items()}


def _decoded_verdict(stored: Mapping[str, Any]) -> Verdict:
    facts = dict(stored)
    interval, results = facts.pop("interval"), facts.pop("standings")
    return Verdict(
        conclusion=Conclusion(facts.pop("decision")),
        interval=None if interval is None else tuple(interval),
        results=tuple(ConfigurationResult(**result) for result in results),
        **facts,
    )
