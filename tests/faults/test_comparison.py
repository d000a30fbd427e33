"""The best against the default configuration on other seeds: on real Ray with a scripted trainer."""

from collections import Counter

import pytest

from tests.support.arena import Arena, assert_nothing_runs, assert_orderly_end

TRIALS = 6
MORE = ("--reevaluation-runs", "12")


@pytest.fixture
def arena(tmp_path, ray_cluster):
    arena = Arena(tmp_path, trials=TRIALS, address=ray_cluster)
    space = tmp_path / "space.yaml"
    # The default configuration is a poor one, so that there are better ones to compare it with.
    space.write_text(space.read_text().replace("baseline: {lr0: 0.01}", "baseline: {lr0: 0.9}"))
    yield arena
    arena.kill_everything()


def compared(arena):
    """Count how often each epoch of each run on another seed was trained."""
    epochs = (event for event in arena.events("epoch") if event["seed"] != 0)
    return Counter((event["trial"], event["seed"], event["epoch"]) for event in epochs)


def test_the_best_is_compared_before_it_is_promoted_and_the_verdict_is_shown(arena):
    code, output = arena.run(promote=True, more=MORE)
    assert_orderly_end(code, output, 0)
    known = arena.status()["reevaluation"]
    verdict = known["verdict"]
    assert verdict["decision"] == "better"
    assert verdict["statement"] in output.splitlines()
    assert len(known["runs"]) <= 12
    assert set(compared(arena).values()) == {1}
    assert {(trial, seed) for trial, seed, _ in compared(arena)} == {(r["trial"], r["seed"]) for r in known["runs"]}
    promoted = [event for event in arena.events("epoch") if event["full"]]
    assert {event["trial"] for event in promoted} == {verdict["winner"]}
    last_compared = max(event["time"] for event in arena.events("epoch") if event["seed"] != 0)
    assert last_compared < min(event["time"] for event in promoted)
    assert f"# {verdict['statement']}\n" in (arena.study_folder / "params.yaml").read_text()
    assert not list((arena.study_folder / "reevaluation").glob("*/weights"))
    assert_nothing_runs(arena)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        "tuner.comparison.reevaluation:Reevaluation.__init__:after:1",  # recorded, not started
        "tuner.comparison.reevaluation:Reevaluation._on_epoch:after:30",  # under way
        "tuner.comparison.reevaluation:Reevaluation._end:after:5",  # some have ended
    ],
)
def test_a_driver_killed_during_the_comparison_is_followed_by_one_that_resumes_it(arena, place):
    code, output = arena.run(die=place, more=MORE)
    assert code == -9, output
    arena.wait_for(lambda: not arena.processes())
    noted = arena.status()["reevaluation"] or {"runs": []}  # what the journal holds is not in the database yet
    before = {(run["trial"], run["seed"]) for run in noted["runs"]}
    already = compared(arena)
    assert_orderly_end(*arena.run(more=MORE), 0)
    known = arena.status()["reevaluation"]
    assert known["verdict"]["decision"] == "better"
    assert before <= {(run["trial"], run["seed"]) for run in known["runs"]}
    again = compared(arena) - already
    assert not [run for run in again if run[:2] in before]
    assert sum(times - 1 for times in compared(arena).values()) <= 2  # what two trainers were training


@pytest.mark.slow
def test_a_signal_ends_the_comparison_in_order_and_the_same_command_resumes(arena):
    process = arena.start(epoch_seconds=0.05, more=MORE)
    arena.wait_for(lambda: len(compared(arena)) >= 5)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 143)
    assert arena.status()["reevaluation"]["verdict"] is None
    assert_orderly_end(*arena.run(more=MORE), 0)
    assert arena.status()["reevaluation"]["verdict"]["decision"] == "better"
    assert set(compared(arena).values()) == {1}
