"""Compare a search with its replay: both make the same decisions from the same curves."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.support.timed_search import Epoch, drive
from tests.tuner.conftest import driven
from tuner.decisions.rungs import Rungs
from tuner.decisions.strategies import Limits
from tuner.search.search import Search
from tuner.simulation.replay import Pool, replay
from tuner.simulation.simulated import SimulatedSearch
from tuner.simulation.tables import CurveTable
from tuner.space import UnitCube, parse_space
from tuner.study import TrialRecord, best_trial
from tuner.trials.requests import TrialTerms

SPACE = """
search: {epochs: 9, rungs: [3], reduction_factor: 3}
parameters:
  imgsz: 64
  batch: { choice: [16, 32, 64] }
  optimizer: { choice: [SGD, AdamW] }
  lr0:
    - { when: { optimizer: SGD }, float: [0.001, 0.1], log: true }
    - { when: { optimizer: AdamW }, float: [0.0001, 0.01], log: true }
  weight_decay: { float: [0.00001, 0.01], log: true }
  momentum: { float: [0.8, 0.98] }
  mosaic: { float: [0, 1] }
baseline: {batch: 16, optimizer: SGD, lr0: 0.01, weight_decay: 0.0005, momentum: 0.9, mosaic: 1}
"""
EPOCHS = 9
RUNGS = Rungs(epochs=(3,), reduction_factor=3)
SEED = 3


@dataclass(frozen=True)
class Searched:
    """Whole search, and a table of its configurations followed by as many others.

    Ranges are real, so a proposal and its configuration are the same point, and no other is
    nearer.
    """

    trials: Sequence[TrialRecord]
    lines: list[str]
    ended_s: float
    table: CurveTable


def curve(point):
    """Return metric, loss and seconds of the epochs of a configuration, by its point; one run in seven diverges."""
    rng = np.random.default_rng(np.frombuffer(point.tobytes(), np.uint32))
    passed = np.arange(1, EPOCHS + 1) / EPOCHS
    top = 0.6 - ((point - 0.6) ** 2).sum() / 4
    metric = top * (1 - np.exp(-3 * passed)) + rng.normal(scale=0.01, size=EPOCHS)
    loss = 4.0 - 3.0 * top * passed + rng.normal(scale=0.05, size=EPOCHS)
    if rng.random() < 1 / 7:
        died = rng.integers(EPOCHS)
        metric[died:], loss[died:] = np.nan, np.inf
    return metric, loss, rng.uniform(20.0, 60.0) * rng.uniform(0.9, 1.1, EPOCHS)


@pytest.fixture
def searched(url, spec, paths):
    """Return a function that searches with slots whose trainers play the curves in simulated time."""

    def run(slots, trials, strategy="auto", *, validate_every_epoch=False):
        space = parse_space(SPACE, name="made", file="made.yaml")
        space = space.with_settings(trials=trials, strategy=strategy, seed=SEED)
        of_space = replace(spec, space_name=space.name, space=space.canonical(), epochs=EPOCHS, seed=SEED)
        cube = UnitCube(space)
        terms = TrialTerms(threads=1, gpus_per_trial=0, validate_every_epoch=validate_every_epoch)
        with driven(url, of_space, paths) as study:
            search = Search(study, space, paths, terms)

            def played(request, epoch):
                metric, loss, seconds = curve(cube.point(study.trial(request.trial).sampled))
                return Epoch(float(metric[epoch - 1]), float(loss[epoch - 1]), float(seconds[epoch - 1]))

            ended_s = drive(search, slots, played)
            assert search.finished
            known = study.trials()
        tried = np.array([cube.point(trial.sampled) for trial in known])
        points = np.concatenate([tried, cube.cube.random(np.random.default_rng(SEED), len(tried))])
        metric, loss, seconds = (np.array(values) for values in zip(*map(curve, points), strict=True))
        table = CurveTable(
            name="made",
            points=points,
            choices=tuple(dimension.choices for dimension in cube.cube.dimensions),
            conditions=tuple(dimension.when for dimension in cube.cube.dimensions),
            baseline=0,
            metric=metric,
            loss=loss,
            seconds=seconds,
        )
        return Searched(known, paths.decisions.read_text().splitlines(), ended_s, table)

    return run


def simulated(table, workers, trials, strategy="auto", **options):
    """Return the outcome of a replay, and its decisions."""
    lines = []
    search = SimulatedSearch(
        table,
        Pool(table),
        strategy,
        seed=SEED,
        rungs=RUNGS,
        limits=Limits(trials=trials),
        log=lines.append,
        **options,
    )
    return replay(table, search, workers=workers, budget=float(workers * trials)), decisions(lines)


def decisions(lines):
    """Return the lines of a log without redundant ones: epochs that a resumed trainer repeats, ends after a verdict."""
    found, heard, over = [], set(), set()
    for line in lines:
        event = json.loads(line)
        if (event.get("hear"), event.get("epoch")) in heard or event.get("end") in over:
            continue
        found.append(line)
        if "hear" in event:
            heard.add((event["hear"], event["epoch"]))
        if event.get("verdict") in ("Stop", "Lost"):
            over.add(event["hear"])
    return found


def assert_agreement(real, outcome, made):
    assert made == decisions(real.lines)  # begins, resumes, pauses and ends in order, with every point and value
    assert outcome.rows == list(range(len(real.trials)))
    assert outcome.epochs == [trial.facts.epochs for trial in real.trials]
    assert outcome.ended_s == pytest.approx(real.ended_s)
    assert outcome.busy_s == pytest.approx(sum(trial.facts.seconds for trial in real.trials), rel=1e-6)
    assert outcome.incumbents[100] == best_trial(real.trials).number


@pytest.mark.parametrize(
    ("slots", "trials"), [(1, 40), (16, 80), pytest.param(1000, 1020, marks=pytest.mark.slow)], ids=str
)
def test_a_search_and_its_replay_make_the_same_decisions(searched, slots, trials):
    real = searched(slots, trials)
    kinds = {key for line in real.lines for key in json.loads(line)}
    assert kinds >= {"begin", "resume", "hear", "end"}
    assert_agreement(real, *simulated(real.table, slots, trials, validate_every_epoch=False))


def test_the_decisions_are_the_same_if_every_epoch_is_validated(searched):
    real = searched(16, 80, validate_every_epoch=True)
    assert_agreement(real, *simulated(real.table, 16, 80))


@pytest.mark.parametrize("strategy", ["asha-promotion", "asha-stopping"])
def test_strategies_with_proposals_from_optuna_make_the_same_decisions(searched, strategy):
    real = searched(16, 80, strategy)
    proposals = real.table.points[1:80]
    assert_agreement(real, *simulated(real.table, 16, 80, strategy, first=proposals, validate_every_epoch=False))
