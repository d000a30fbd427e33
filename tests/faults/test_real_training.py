"""Rows 1, 3, 12 and 21 with real training on the CPU, which the scripted trainer only plays."""

import io
import pickle
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch

from tests.support.arena import assert_nothing_runs, assert_orderly_end
from tests.support.real_arena import EPOCHS, NOTHING_LEARNT, RealArena, rewrite, run_to_its_end
from trainer.ultralytics_bridge import environment

environment.configure()

from trainer.ultralytics_bridge import checkpoints  # noqa: E402 - only after the environment is set


@pytest.fixture
def arena(tmp_path):
    arena = RealArena(tmp_path)
    yield arena
    arena.kill_everything()


class Evil:
    """Runs a program when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def evil_pickle(marker: Path) -> bytes:
    return pickle.dumps(Evil(marker))


def evil_checkpoint(marker: Path) -> bytes:
    """Return a checkpoint as torch writes it, with malicious content."""
    buffer = io.BytesIO()
    torch.save({"epoch": 2, "model": Evil(marker)}, buffer)
    return buffer.getvalue()


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def with_nan(data: bytes) -> bytes:
    """Return the checkpoint with one weight that is not a number, as failed training would have written it."""
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        Path(file.name).write_bytes(data)
        _, checkpoint = checkpoints.load(file.name)
    next(checkpoint["ema"].parameters()).data.view(-1)[0] = float("nan")
    content = io.BytesIO()
    torch.save(checkpoint, content)
    return content.getvalue()


@pytest.mark.slow
def test_a_killed_run_resumes_despite_a_damaged_checkpoint_and_malicious_files(arena, tmp_path):
    """All in one run: kill -9 of the driver, row 12 and row 21."""
    before = arena.killed_after(3)
    assert before["trials"][0]["state"] == "COMPLETE"
    trial, marker = arena.trial(), tmp_path / "marker"
    trained, last, previous = trial.trained(), trial.good_epoch(), trial.good_epoch("previous.pt")
    assert (last, previous) == (last, last - 1)
    trial.replace_last(evil_checkpoint(marker), listed=True)
    for name in ("searcher-state.pkl", "tuner.pkl", "trainable.pkl", "experiment_state.json"):
        (arena.study_folder / name).write_bytes(evil_pickle(marker))
    run_to_its_end(arena, before)
    assert not marker.exists()
    assert f"resuming from epoch {previous} (previous.pt); refused last.pt: The checkpoint" in trial.log
    assert trial.redone() == max(trained) - previous
    assert max(trained) - last <= 1


def test_a_malicious_model_is_refused_in_one_line_and_runs_nothing(arena, tmp_path):
    marker = tmp_path / "marker"
    (tmp_path / "evil.pt").write_bytes(evil_checkpoint(marker))
    code, output = arena.run(more=["--model", "evil.pt"])
    assert_orderly_end(code, output, 2)
    assert not marker.exists()
    assert "evil.pt" in output.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_killed_driver_costs_at_most_one_epoch_and_changes_no_result(arena, tmp_path, epoch):
    before = arena.killed_after(epoch)
    status = run_to_its_end(arena, before)
    assert arena.trial(0).redone() == 0
    assert arena.trial().redone() <= 1
    (tmp_path / "undisturbed").mkdir()
    undisturbed = run_to_its_end(RealArena(tmp_path / "undisturbed"))
    for trial, other in zip(status["trials"], undisturbed["trials"], strict=True):
        for same in ("number", "state", "params", "curve", "value"):
            assert trial[same] == other[same], same


@pytest.mark.slow
def test_a_killed_training_process_costs_at_most_one_epoch(arena):
    driver = arena.start()
    arena.freeze_after(3).send_signal(signal.SIGKILL)
    output, _ = driver.communicate(timeout=240)
    assert_orderly_end(driver.returncode, output, NOTHING_LEARNT)
    status = run_to_its_end(arena)
    (attempt,) = status["trials"][1]["failed_attempts"]
    assert attempt["failure"] == "infrastructure"
    assert status["trials"][1]["attempts"] == 2
    assert arena.trial().redone() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("damage", [half, flipped, with_nan])
def test_a_damaged_checkpoint_costs_one_more_epoch(arena, damage):
    before = arena.killed_after(3)
    trial = arena.trial()
    last = trial.good_epoch()
    trial.replace_last(damage((trial.weights / "last.pt").read_bytes()), listed=damage is with_nan)
    run_to_its_end(arena, before)
    assert f"resuming from epoch {last - 1} (previous.pt)" in trial.log
    assert trial.redone() <= 2


@pytest.mark.slow
def test_without_a_good_checkpoint_a_trial_starts_again_and_says_so(arena):
    before = arena.killed_after(3)
    trial = arena.trial()
    for name in ("last.pt", "previous.pt"):
        rewrite(trial.weights / name, flipped((trial.weights / name).read_bytes()))
    run_to_its_end(arena, before)
    assert "starting from scratch; refused last.pt: it does not match its checksum" in trial.log
    assert trial.trained()[1] == 2


def promote(arena):
    """Start the full run of a configuration that has learnt nothing in so few epochs, which requires --epochs."""
    return subprocess.Popen(
        arena.command("promote", "s", "--plain", "--epochs", str(EPOCHS)),
        cwd=arena.folder,
        env=arena.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_final_run_resumes(arena):
    run_to_its_end(arena)
    driver = promote(arena)
    arena.wait_for(
        lambda: (arena.study_folder / "promoted").exists() and list((arena.study_folder / "promoted").iterdir())
    )
    arena.freeze_after(3, run=arena.final_run)
    driver.kill()
    driver.communicate()
    arena.wait_for(lambda: not arena.processes(), timeout_s=30)
    driver = promote(arena)
    output, _ = driver.communicate(timeout=240)
    assert_orderly_end(driver.returncode, output, 0)
    assert_nothing_runs(arena)
    status = arena.status()
    assert status["final_run"]["state"] == "COMPLETE"
    assert arena.final_run().redone() <= 1
    assert (arena.study_folder / "params.yaml").exists()
