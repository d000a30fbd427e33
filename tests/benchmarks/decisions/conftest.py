"""Results of searches made by hand."""

from collections.abc import Mapping

from benchmarks.decisions.results import Key, Run


def run_with(key: Key, regret: Mapping[int, float]) -> Run:
    """Make a run with these regrets by percentage of the budget; all else is the same for all runs."""
    return Run(
        key=key,
        regret=dict(regret),
        trials=20,
        full_runs=10,
        dead_epoch_share=0.1,
        idle_share=0.0,
        decision_p95_ms=1.0,
        cpu_s=0.5,
    )
