"""Time of a decision in a large study: `auto`'s proposals next to those of Optuna's multivariate TPE.

python -m benchmarks.decisions.pace [--trials N ...] [--proposals N]
"""

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from tuner.decisions.history import History, Status
from tuner.decisions.proposers import ModelProposer
from tuner.decisions.rungs import Rungs
from tuner.unit_cube import Cube, Dimension

EPOCHS = 51
RUNGS = Rungs(epochs=(3, 8, 26), reduction_factor=4)
SURVIVORS = 0.3
"""Share of the trials at a rung that reach the next one."""
LOST = 0.1
"""Share of all trials that diverge before the first rung."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[8, 30])
    parser.add_argument("--proposals", type=int, default=200)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sys.stdout.write("trials  dimensions  proposer      p50 ms  p95 ms\n")
    for trials in options.trials:
        for dimensions in options.dimensions:
            curves = _curves(trials, dimensions)
            for name, propose in {"auto": _auto(*curves), "optuna-tpe": _tpe(*curves)}.items():
                took_ms = [_timed_ms(propose, number) for number in range(options.proposals)]
                p50, p95 = np.percentile(took_ms, (50, 95))
                sys.stdout.write(f"{trials:6d}  {dimensions:10d}  {name:12s}  {p50:6.1f}  {p95:6.1f}\n")
                sys.stdout.flush()


def _curves(trials: int, dimensions: int) -> tuple[np.ndarray, list[dict[int, float]]]:
    """Make synthetic configurations and their metrics at the rungs that each reached; none for a lost trial."""
    rng = np.random.default_rng(0)
    points = rng.random((trials, dimensions))
    levels = (*RUNGS.epochs, EPOCHS)
    reached = rng.geometric(1 - SURVIVORS, trials).clip(max=len(levels)) * (rng.random(trials) >= LOST)
    return points, [
        {epoch: float(point[0] + 0.1 * rng.random() + 0.01 * epoch) for epoch in levels[:last]}
        for point, last in zip(points, reached, strict=True)
    ]


def _auto(points: np.ndarray, curves: list[dict[int, float]]) -> Callable[[int], object]:
    history = History(epochs=EPOCHS, dimensions=points.shape[1])
    for point, curve in zip(points, curves, strict=True):
        trial = history.begin(point)
        history.note_loss(trial, 1, 2.0)
        for epoch, value in curve.items():
            history.report(trial, epoch, value)
            history.note_loss(trial, epoch, 1.0 / epoch)
        history.set_status(trial, Status.COMPLETE if EPOCHS in curve else Status.PAUSED if curve else Status.LOST)
    cube = Cube(tuple(Dimension() for _ in range(points.shape[1])))
    proposer = ModelProposer()

    def propose(number: int) -> object:
        history.note_loss(0, 1, 2.0)  # like any epoch of a search, it makes everything derived outdated
        return proposer.propose(history, cube, RUNGS, seed=number, allowed=lambda point: True)

    return propose


def _tpe(points: np.ndarray, curves: list[dict[int, float]]) -> Callable[[int], object]:
    space = {f"x{i}": FloatDistribution(0.0, 1.0) for i in range(points.shape[1])}
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(multivariate=True, seed=0, constant_liar=True)
    )
    study.add_trials(
        create_trial(
            params=dict(zip(space, point.tolist(), strict=True)),
            distributions=dict(space),
            value=curve[max(curve)] if curve else None,
            intermediate_values=curve,
            state=TrialState.COMPLETE if EPOCHS in curve else TrialState.PRUNED if curve else TrialState.FAIL,
        )
        for point, curve in zip(points, curves, strict=True)
    )

    def propose(number: int) -> object:
        trial = study.ask(dict(space))
        study.tell(trial, state=TrialState.FAIL)  # keeps the number of known trials the same for the next proposal
        return trial

    return propose


def _timed_ms(propose: Callable[[int], object], number: int) -> float:
    began_s = time.perf_counter()
    propose(number)
    return (time.perf_counter() - began_s) * 1e3


if __name__ == "__main__":
    main()
