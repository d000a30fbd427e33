"""Measure the quality of a replayed search."""

import hashlib
from typing import Any

import numpy as np

from tuner.simulation.replay import Outcome
from tuner.simulation.tables import CurveTable


def measures(table: CurveTable, outcome: Outcome) -> dict[str, Any]:
    """Return the metrics of one search, ready for JSON.

    `regret`: regret of the incumbent, by percent of the budget. `trials`: number of trials. `full_runs`: trials trained
    to the last epoch. `dead_epoch_share`: share of all trained epochs at which the run was dead for good, including its
    first dead epoch. `idle_share`: share of all worker time without training. `decision_ms`: percentiles of the
    decision time, in milliseconds.
    """
    epochs = sum(outcome.epochs)
    decisions_ms = np.asarray(outcome.decisions_s or [0.0]) * 1e3
    return {
        "regret": {str(percent): table.regret(row) for percent, row in outcome.incumbents.items()},
        "trials": len(outcome.epochs),
        "full_runs": sum(trained == table.epochs for trained in outcome.epochs),
        "dead_epoch_share": outcome.dead_epochs / max(epochs, 1),
        "idle_share": outcome.idle_s / max(outcome.idle_s + outcome.busy_s, 1e-12),
        "decision_ms": {
            "p50": float(np.percentile(decisions_ms, 50)),
            "p95": float(np.percentile(decisions_ms, 95)),
        },
        "decision_log_sha256": hashlib.sha256("\n".join(outcome.log).encode()).hexdigest(),
    }
