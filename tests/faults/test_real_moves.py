"""Rows 3, +i and the signals with real training: moved folders, moved data, and each signal in mid-training."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.arena import assert_orderly_end
from tests.support.real_arena import EPOCHS, RealArena, run_to_its_end
from trainer.data.sample import sample
from tuner.storage.urls import sqlite_url

CODES = {"INT": 130, "TERM": 143, "HUP": 129, "USR1": 75, "USR2": 75}


@pytest.fixture
def data(tmp_path) -> Path:
    return sample.compose(tmp_path / "data", train_images=16, val_images=4, image_size=64)


@pytest.fixture
def arena(tmp_path):
    arena = RealArena(tmp_path)
    yield arena
    arena.kill_everything()


def tune(arena, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tuner", *arguments],
        cwd=arena.folder,
        env=arena.environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def stopped_after(arena, epoch, name, **options):
    """Signal the search in the second trial, after that epoch."""
    driver = arena.start(**options)
    arena.wait_for(lambda: arena.trial().good_epoch() >= epoch)
    driver.send_signal(signal.Signals[f"SIG{name}"])
    output, _ = driver.communicate(timeout=120)
    assert_orderly_end(driver.returncode, output, CODES[name])
    return arena.status()


@pytest.mark.slow
def test_a_study_and_its_data_moved_during_the_search_are_trained_shown_exported_and_promoted(arena, data, tmp_path):
    before = stopped_after(arena, 2, "TERM", more=["--data", str(data)])
    arena.home = arena.home.rename(tmp_path / "moved")
    arena.storage = sqlite_url(arena.study_folder / "study.db")
    data = data.parent.rename(tmp_path / "elsewhere") / data.name

    status = run_to_its_end(arena, more=["--home", "moved", "--data", str(data)])
    assert status["data"] == str(data)
    assert {trial["state"] for trial in before["trials"]} == {"COMPLETE", "WAITING"}
    assert arena.trial(0).redone() == 0
    assert arena.trial(1).redone() <= 1

    code, shown = tune(arena, "status", "s", "--home", "moved")
    assert code == 0
    assert str(data) in shown.replace("\n", "")
    arena.home = arena.home.rename(tmp_path / "again")
    data = data.parent.rename(tmp_path / "far") / data.name
    code, said = tune(arena, "export", "s", "--home", "again", "-o", "params.yaml", "--data", str(data))
    assert code == 0, said
    assert yaml.safe_load((tmp_path / "params.yaml").read_text())["data"].startswith(str(tmp_path))
    promote = ["promote", "s", "--home", "again", "--plain", "--epochs", str(EPOCHS), "--data", str(data)]
    code, said = tune(arena, *promote)
    assert code == 0, said
    assert arena.final_run().redone() == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", CODES)
def test_each_signal_ends_a_search_with_real_training_and_the_same_command_resumes(arena, name):
    before = stopped_after(arena, 2, name)
    assert [trial["state"] for trial in before["trials"]] == ["COMPLETE", "WAITING"]
    run_to_its_end(arena)
    assert arena.trial(1).redone() <= 1


def train(arena, data):
    sizes = [f"--set={setting}" for setting in ("imgsz=32", "batch=8", "mosaic=0", "optimizer=SGD")]
    where = ["--data", str(data), "--model", "mamba-yolo-n", "--gpus", "0", "--out", "run"]
    return [sys.executable, "-m", "tuner", "train", *where, "--epochs", str(EPOCHS), *sizes]


def trained_epochs(folder):
    return [int(line.split(",")[0]) for line in (folder / "results.csv").read_text().splitlines()[1:]]


@pytest.mark.slow
@pytest.mark.parametrize("under", ["", "timeout", "setsid"])
@pytest.mark.parametrize("name", CODES)
def test_each_signal_ends_a_full_run_with_real_training_and_the_same_command_resumes(arena, data, name, under):
    # `timeout` forwards the signals that it knows, and the one that it is asked to send.
    begin = {"": [], "timeout": ["timeout", "--signal", name, "600"], "setsid": ["setsid", "--wait"]}[under]
    process = subprocess.Popen(
        [*begin, *train(arena, data)],
        cwd=arena.folder,
        env=arena.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break
    if under == "setsid":  # the new group is not the one that trains
        (driver,) = [p for p in arena.processes() if "train" in p.cmdline() and p.pid != process.pid and p.ppid()]
        os.kill(driver.pid, signal.Signals[f"SIG{name}"])
    else:
        os.killpg(process.pid, signal.Signals[f"SIG{name}"])
    output, _ = process.communicate(timeout=120)
    assert_orderly_end(process.returncode, output, CODES[name])
    done = subprocess.run(
        train(arena, data), cwd=arena.folder, env=arena.environment, capture_output=True, text=True, check=False
    )
    assert_orderly_end(done.returncode, done.stdout + done.stderr, 0)
    assert trained_epochs(arena.folder / "run") == list(range(1, EPOCHS + 1))


@pytest.mark.slow
def test_a_full_run_resumes_after_it_and_its_data_were_moved(arena, data, tmp_path):
    process = subprocess.Popen(
        train(arena, data), cwd=tmp_path, env=arena.environment, stdout=subprocess.PIPE, text=True, process_group=0
    )
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break
    process.terminate()
    assert process.wait(timeout=120) == CODES["TERM"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(tmp_path / "run", elsewhere / "run")
    data = data.parent.rename(tmp_path / "far") / data.name
    done = subprocess.run(
        train(arena, data), cwd=elsewhere, env=arena.environment, capture_output=True, text=True, check=False
    )
    assert_orderly_end(done.returncode, done.stdout + done.stderr, 0)
    assert trained_epochs(elsewhere / "run") == list(range(1, EPOCHS + 1))
    assert "resuming from epoch" in (elsewhere / "run" / "trainer.log").read_text()
