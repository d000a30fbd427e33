"""What a replayed search was worth."""

import hashlib
from typing import Any

import numpy as np

from tuner.simulation.replay import Outcome
from tuner.simulation.tables import CurveTable


def measures(table: CurveTable, outcome: Outcome) -> dict[str, Any]:
    """The figures of one search, for JSON.

    `regret` by percent of the budget: of the configuration that would be promoted at that moment. `full_runs`: trials
    trained to the last epoch. `dead_epoch_share`: of all epochs trained, those at which the run was dead for good, its
    first dead epoch included. `idle_share`: of all worker time, that in which nothing trained.
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
