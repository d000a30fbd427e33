"""End a run whose results show that nothing was learnt, or that nothing can be better."""

import subprocess
import sys

import pytest

from tests.support.arena import SPACE, assert_orderly_end

CAUSES = "likely causes: labels that are not found"


def play(arena, value, *, trials, promote=True):
    """Run a search whose trials all end with this value."""
    (arena.folder / "space.yaml").write_text(SPACE % trials)
    trainer = arena.run_arguments()[arena.run_arguments().index("--trainer") + 1]
    return arena.run(promote=promote, more=["--trainer", f"{trainer} --value {value}"])


def tune(arena, *arguments):
    command = [sys.executable, "-m", "tuner", *arguments]
    return subprocess.run(command, cwd=arena.folder, env=arena.environment, capture_output=True, text=True, check=False)


def test_a_run_that_learnt_nothing_promotes_nothing_and_every_command_says_so(arena):
    code, output = play(arena, 0.0, trials=3)
    assert_orderly_end(code, output, 7)
    assert CAUSES in output.splitlines()[-1]
    assert arena.status()["final_run"] is None
    refused = tune(arena, "promote", "s", "--plain")
    assert refused.returncode == 7
    assert CAUSES in refused.stderr
    exported = tune(arena, "export", "s")
    assert exported.returncode == 0
    assert CAUSES in exported.stderr
    assert "# Nothing was learnt in the search: " in (arena.folder / "params.yaml").read_text()
    assert CAUSES in tune(arena, "status", "s").stdout.replace("\n", " ")


@pytest.mark.slow
def test_a_run_that_learnt_nothing_ends_the_same_way_again(arena):
    for promote in (True, True, False):
        code, output = play(arena, 0.0, trials=3, promote=promote)
        assert_orderly_end(code, output, 7)
        assert CAUSES in output.splitlines()[-1]


@pytest.mark.slow
def test_one_trial_at_zero_without_promotion_ends_in_order_and_says_so(arena):
    code, output = play(arena, 0.0, trials=1, promote=False)
    assert_orderly_end(code, output, 0)
    assert "Nothing was learnt in the search: the best mAP50-95 of the only complete trial is 0" in output
    assert "tune promote" not in output


@pytest.mark.slow
def test_a_search_that_finds_the_ceiling_ends_in_order_and_promotes(arena):
    code, output = play(arena, 0.995, trials=40)
    assert_orderly_end(code, output, 0)
    assert "trials have the highest possible mAP50-95, 0.995; no better result is possible" in output
    status = arena.status()
    assert len(status["trials"]) < 40
    assert (status["counts"]["WAITING"], status["final_run"]["state"]) == (0, "COMPLETE")
