"""Row 1: the driver is killed at any place; the same command finishes the study as if undisturbed."""

import random
import time

import pytest

from tests.support.arena import Arena, assert_nothing_lost, assert_orderly_end

PLACES = [
    "tuner.storage.lease:_taken:after:1",  # holds the study, has done nothing yet
    "tuner.study._opening:_begin:after:1",  # the study exists and is empty
    "tuner.study._journal:Journal.append:before:3",  # proposed, but not recorded anywhere
    "tuner.study._journal:Journal.append:after:3",  # in the journal only
    "tuner.study._changes:Replica._insert:after:2",  # in the database, and still in the journal
    "optuna.storages:RDBStorage.set_trial_intermediate_value:after:2",  # the value without its verdict
    "optuna.storages:RDBStorage.set_trial_user_attr:after:9",  # half of a change
    "optuna.storages:RDBStorage.set_trial_state_values:before:2",  # all of a change but the state
    "optuna.storages:RDBStorage.set_trial_state_values:after:2",
    "tuner.study._journal:Journal.clear:before:4",
    "tuner.study:StudySession.record_epoch:before:3",  # a value was received, but not recorded anywhere
    "tuner.execution.ray_search:SearchScheduler.on_trial_result:before:12",
]


IN_EVERY_RUN = (3,)
"""Places that the default suite has time for; `make test-slow` runs all."""


@pytest.mark.parametrize(
    "place", [pytest.param(p, marks=() if i in IN_EVERY_RUN else pytest.mark.slow) for i, p in enumerate(PLACES)]
)
def test_a_driver_killed_at_a_named_place_loses_nothing(place, tmp_path, ray_cluster):
    arena = Arena(tmp_path, trials=6, address=ray_cluster)
    code, output = arena.run(die=place, epoch_seconds=0.05)
    assert code == -9, output
    before = arena.status() if (arena.study_folder / "study.db").exists() and "_taken" not in place else None
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, before=before)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_driver_killed_at_a_random_time_loses_nothing(seed, arena):
    process = arena.start(epoch_seconds=0.2)
    time.sleep(random.Random(seed).uniform(2.0, 12.0))
    process.kill()
    process.communicate()
    before = arena.status() if (arena.study_folder / "study.db").exists() else None
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, before=before, most_redone=2)  # one for each of the two trials


@pytest.mark.slow
def test_a_driver_killed_repeatedly_loses_nothing(arena):
    for _ in range(5):
        process = arena.start(epoch_seconds=0.2)
        seen = len(arena.events("epoch"))
        arena.wait_for(lambda seen=seen: len(arena.events("epoch")) > seen + 4)
        process.kill()
        process.communicate()
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, most_redone=10)


def test_ray_and_the_trainers_end_with_a_killed_driver(lone_arena):
    process = lone_arena.start(epoch_seconds=0.3)
    lone_arena.wait_for(lambda: len(lone_arena.events("epoch")) >= 6)
    process.kill()
    process.communicate()
    before = lone_arena.status()
    lone_arena.wait_for(lambda: not lone_arena.processes(), timeout_s=30)
    code, output = lone_arena.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(lone_arena, before=before, most_redone=2)


PROMOTION_PLACES = [
    "tuner.workflows.run:choose_winner:after:1",  # chosen, not started
    "tuner.training.final_run:FinalRun.__init__:after:1",  # recorded, not started
    "tuner.training.final_run:FinalRun.report:after:3",  # under way
    "tuner.training.final_run:FinalRun.end:before:1",  # trained, not recorded
    "tuner.workflows.run:write_params:before:1",  # recorded, not exported
]


@pytest.mark.slow
@pytest.mark.parametrize("place", PROMOTION_PLACES)
def test_a_driver_killed_around_the_promotion_promotes_one_trial_once(place, tmp_path, ray_cluster):
    arena = Arena(tmp_path, trials=3, address=ray_cluster)
    code, output = arena.run(die=place, promote=True)
    assert code == -9, output
    before = arena.status()
    code, output = arena.run(promote=True)
    assert_orderly_end(code, output, 0)
    status = assert_nothing_lost(arena, before=before)
    assert status["final_run"]["state"] == "COMPLETE"
    played = [(event["trial"], event["epoch"]) for event in arena.events("epoch") if event["full"]]
    assert sorted(played) == [(status["best"]["trial"], epoch) for epoch in (1, 2, 3, 4)]
    assert (arena.study_folder / "params.yaml").exists()
