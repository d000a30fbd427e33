"""Default configurations of tables that do not name one, as somebody who starts such a search would choose them.

Each default is the row of the table that is nearest to the values below. A search knows that row as its default.
"""

from pathlib import Path

import numpy as np

from tuner.simulation.replay import Pool
from tuner.simulation.tables import CurveTable
from tuner.unit_cube import Floats

ADAM = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
"""Defaults of Adam's paper (https://arxiv.org/abs/1412.6980, algorithm 1).

TaskSet's other hyper-parameters are regularisation and decay, which it does not have: the smallest of the table.
"""

LCBENCH = (
    # Value, range and scale of batch size, learning rate, momentum, weight decay, layers, units and dropout.
    (64, 16, 512, True),
    (3e-3, 1e-4, 1e-1, True),
    (0.9, 0.1, 0.99, False),
    (1e-4, 1e-5, 1e-1, False),
    (3, 1, 5, False),
    (256, 64, 1024, True),
    (0.2, 0.0, 1.0, False),
)
"""Usual values of a small classifier.

The ranges are those of YAHPO (https://github.com/slds-lmu/yahpo_data, lcbench/param_set.R); True: logarithmic.
"""


def default_row(path: Path, table: CurveTable) -> int | None:
    """Return the row of a table's default: its own baseline or the one of this module; None if there is neither.

    Args:
        path: The npz file of the table, whose name or arrays tell what it is.
        table: The table in it.
    """
    if table.baseline is not None:
        return table.baseline
    if path.stem.startswith("lcbench-"):
        return Pool(table).nearest(_lcbench_point())
    with np.load(path, allow_pickle=False) as arrays:
        if "hp_names" not in arrays or not ADAM.keys() <= set(map(str, arrays["hp_names"])):
            return None
        names, values = [str(name) for name in arrays["hp_names"]], np.asarray(arrays["config"], float)
    return Pool(table).nearest(_adam_point(names, values))


def _lcbench_point() -> Floats:
    shares = [
        np.log(value / low) / np.log(high / low) if logarithmic else (value - low) / (high - low)
        for value, low, high, logarithmic in LCBENCH
    ]
    return np.array(shares)


def _adam_point(names: list[str], values: Floats) -> Floats:
    """Place Adam's defaults in the unit cube of a table, which spans each hyper-parameter's logarithm in it.

    `tuner.simulation.tables` places the rows the same way; betas count as distances from 1.
    """
    scaled = np.empty((2, len(names)))
    for column, name in enumerate(names):
        known = values[:, column]
        wanted = np.clip(ADAM.get(name, known.min()), known.min(), known.max())
        as_logarithm = (lambda x: np.log(1 - x)) if name.startswith("beta") else np.log
        low, high = np.sort(as_logarithm(np.array([known.min(), known.max()])))
        scaled[:, column] = as_logarithm(wanted) - low, high - low
    point: Floats = scaled[0] / np.where(scaled[1] > 0, scaled[1], 1.0)
    return point
