"""Compare a replay with a search on Ray with scripted trainers."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.support.arena import SPACE, Arena, assert_orderly_end
from tests.support.scripted_trainer import metric
from tests.tuner.simulation.test_agreement import decisions
from tuner.decisions.rungs import Rungs
from tuner.decisions.strategies import Limits
from tuner.simulation.replay import Pool, replay
from tuner.simulation.simulated import SimulatedSearch
from tuner.simulation.tables import CurveTable
from tuner.space import UnitCube, parse_space
from tuner.study import StoredStudy

TRIALS = 16
EPOCHS = 9


@pytest.fixture
def arena(tmp_path, ray_cluster):
    arena = Arena(tmp_path, trials=TRIALS, address=ray_cluster)
    text = (SPACE % TRIALS).replace("strategy: asha-stopping", "strategy: auto").replace("sampler: random, ", "")
    (tmp_path / "space.yaml").write_text(text)
    yield arena
    arena.kill_everything()


def played(arena):
    """Return a table of the curves that trainers play: the configurations of the study, followed by as many others."""
    cube = UnitCube(parse_space((arena.folder / "space.yaml").read_text(), name="s", file="space.yaml"))
    study = StoredStudy.open(arena.storage, "s", arena.study_folder)
    tried = [trial.sampled for trial in study.trials()]
    study.close()
    others = [cube.sampled(point) for point in cube.cube.random(np.random.default_rng(0), len(tried))]
    configurations = [*tried, *others]
    epochs = range(1, EPOCHS + 1)
    curves = np.array([[metric(sampled, epoch, EPOCHS) for epoch in epochs] for sampled in configurations])
    return CurveTable(
        name="played",
        points=np.array([cube.point(sampled) for sampled in configurations]),
        choices=(0,),
        baseline=0,
        metric=curves,
        loss=np.broadcast_to([math.fsum((1.0 / epoch, 1.0, 1.0)) for epoch in epochs], curves.shape),
        seconds=np.ones_like(curves),
    )


def in_order(table, lines):
    """Return the table with times at which the epochs of a replay end in the order of a log: one per second."""
    seconds, now_s, began_s = table.seconds.copy(), 0.0, {}
    for event in map(json.loads, lines):
        if "hear" in event:
            now_s += 1.0
            seconds[event["hear"], event["epoch"] - 1] = now_s - began_s[event["hear"]]
        began_s[next(iter(event.values()))] = now_s
    return replace(table, seconds=seconds)


@pytest.mark.parametrize("slots", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_ray_and_a_replay_in_the_same_order_make_the_same_decisions(arena, slots):
    """Start the next trial of a free slot before the next epoch is processed, so no slot is idle in between."""
    assert_orderly_end(*arena.run(parallel=slots), 0)
    real = decisions((arena.study_folder / "decisions.jsonl").read_text().splitlines())
    table, made = in_order(played(arena), real), []
    search = SimulatedSearch(
        table,
        Pool(table),
        "auto",
        seed=0,
        rungs=Rungs(epochs=(3,), reduction_factor=3),
        limits=Limits(trials=TRIALS),
        validate_every_epoch=False,
        log=made.append,
    )
    replay(table, search, workers=slots, budget=float(TRIALS * slots))
    assert decisions(made) == real
