"""Estimate the cost of a run, on real Ray with a scripted trainer."""

import pytest

from tests.support.arena import assert_nothing_runs, assert_orderly_end


def test_a_dry_run_times_an_epoch_and_leaves_nothing_behind(arena):
    more = ("--dry-run",)
    arena.environment["XDG_CACHE_HOME"] = str(arena.folder.parent / "cache")
    before = sorted(path.name for path in arena.folder.iterdir())
    code, output = arena.run(epoch_seconds=0.5, promote=True, more=more)
    assert_orderly_end(code, output, 0)
    assert "cost   an epoch takes 0.5 s" in output
    assert "cost   search: 8 reach epoch 3" in output or "cost   search: 7 to 8 reach epoch 3" in output
    assert "cost   final run: 4 epochs, 0.00 slot-hours" in output
    assert [event["epoch"] for event in arena.events("epoch")] == [1]
    left = sorted(path.name for path in arena.folder.iterdir())
    assert set(left) - set(before) == {"played.jsonl"}
    assert_nothing_runs(arena)


def test_a_dry_run_times_what_the_command_line_fixes(arena):
    code, output = arena.run(more=("--dry-run", "--imgsz", "32", "--set", "batch=4", "--set", "mosaic=0.5"))
    assert_orderly_end(code, output, 0)
    assert "set    batch=4, mosaic=0.5, imgsz=32 for all trials" in output
    (epoch,) = arena.events("epoch")
    assert (epoch["params"]["imgsz"], epoch["params"]["batch"], epoch["params"]["mosaic"]) == (32, 4, 0.5)


@pytest.mark.slow
def test_the_run_after_a_dry_run_is_estimated_with_the_timed_epoch(arena):
    arena.environment["XDG_CACHE_HOME"] = str(arena.folder / "cache")
    assert arena.run(epoch_seconds=0.5, more=("--dry-run",))[0] == 0
    code, output = arena.run(epoch_seconds=0.5, more=("--trials", "1"))
    assert_orderly_end(code, output, 0)
    assert "cost   an epoch takes 0.5 s (measured just now on the first epoch of the default configuration)" in output
    assert "epoch time unknown" not in output


@pytest.mark.slow
def test_the_time_of_other_data_settings_or_trainers_is_not_used(arena):
    arena.environment["XDG_CACHE_HOME"] = str(arena.folder / "cache")
    assert arena.run(epoch_seconds=0.5, more=("--dry-run",))[0] == 0
    space = arena.folder / "space.yaml"
    space.write_text(space.read_text().replace("imgsz: 64", "imgsz: 96"))
    code, output = arena.run(epoch_seconds=0.5, more=("--trials", "1"))
    assert code == 0
    assert "cost   epoch time unknown: measure it with `tune run --dry-run`" in output


def test_a_trainer_that_fails_is_reported_in_one_line(arena):
    arena.fault("0-1-error")
    code, output = arena.run(more=("--dry-run",))
    assert_orderly_end(code, output, 5)
    assert "Timing an epoch failed" in output
