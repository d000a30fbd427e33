"""Trials that pause and are called back, on real Ray with a scripted trainer."""

import pytest

from tests.support.arena import SPACE, Arena, assert_nothing_runs, assert_orderly_end
from tuner.decisions.log_check import differences
from tuner.decisions.rungs import Rungs
from tuner.decisions.strategies import Limits, make_engine
from tuner.space import UnitCube, parse_space

TRIALS = 16


@pytest.fixture(params=["auto", pytest.param("asha-promotion", marks=pytest.mark.slow)])
def strategy(request):
    return request.param


@pytest.fixture
def arena(tmp_path, ray_cluster, strategy):
    arena = Arena(tmp_path, trials=TRIALS, address=ray_cluster)
    text = (SPACE % TRIALS).replace("strategy: asha-stopping", f"strategy: {strategy}")
    (tmp_path / "space.yaml").write_text(text.replace("sampler: random, ", "") if strategy == "auto" else text)
    yield arena
    arena.kill_everything()


def called_back(arena):
    """Return the trials that have begun more than once."""
    starts = [event["trial"] for event in arena.events("start") if not event["full"]]
    return {trial for trial in starts if starts.count(trial) > 1}


def assert_all_ended(arena):
    counts = arena.status()["counts"]
    assert (counts["RUNNING"], counts["WAITING"], counts["FAIL"]) == (0, 0, 0)
    assert counts["COMPLETE"] + counts["PRUNED"] == TRIALS
    assert counts["COMPLETE"] >= 4  # the baseline and three more
    assert_nothing_runs(arena)


def test_trials_pause_and_resume_without_training_an_epoch_twice_and_the_log_gives_the_same_decisions(arena, strategy):
    assert_orderly_end(*arena.run(), 0)
    assert_all_ended(arena)
    complete = {t["number"] for t in arena.status()["trials"] if t["state"] == "COMPLETE"}
    assert called_back(arena) <= complete
    assert called_back(arena) or strategy == "auto"  # its later trials are good enough to continue at once
    assert set(arena.epochs_played().values()) == {1}

    space = parse_space((arena.folder / "space.yaml").read_text(), name="s", file="space.yaml")
    cube = UnitCube(space)
    engine = make_engine(
        strategy, cube.cube, Rungs(epochs=(3,), reduction_factor=3), seed=0, limits=Limits(trials=TRIALS)
    )
    lines = (arena.study_folder / "decisions.jsonl").read_text().splitlines()
    assert differences(lines, engine, epochs=9, rounded=lambda point: cube.point(cube.sampled(point))) == []


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["asha-promotion"], indirect=True)
def test_a_killed_driver_leaves_paused_trials_to_the_next(arena):
    process = arena.start(epoch_seconds=0.05)
    arena.wait_for(lambda: len({e["trial"] for e in arena.events("start")}) >= 6)
    process.kill()
    process.communicate()
    arena.wait_for(lambda: not arena.processes())
    paused = [t["number"] for t in arena.status()["trials"] if t["state"] == "WAITING"]
    assert paused
    assert_orderly_end(*arena.run(), 0)
    assert_all_ended(arena)
    assert sum(times - 1 for times in arena.epochs_played().values()) <= 2  # what two trainers were training
