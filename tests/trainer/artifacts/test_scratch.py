"""Folders of runs on a machine that is not the tuner's."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.artifacts import scratch
from tuner.contract import EndRecord, EpochRecord, Outcome, TrainRequest

REQUEST = TrainRequest(
    study="s",
    trial=0,
    params={},
    model="m",
    data="d",
    epochs=9,
    stop_epoch=9,
    validation_epochs=(9,),
    seed=0,
    devices=(),
    threads=1,
    directory="/far/studies/s/trials/0000",
    shares_files=False,
    artifacts="s3://team/s/trials/0000",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mamba-yolo-tuner" / "runs"


def test_each_attempt_at_a_run_has_the_same_folder_and_other_runs_have_others(cache):
    first = scratch.on_this_machine(replace(REQUEST, attempt=1))
    assert first.directory == scratch.on_this_machine(replace(REQUEST, attempt=2)).directory
    assert first.directory != scratch.on_this_machine(replace(REQUEST, artifacts="s3://team/s/trials/0001")).directory
    assert first.directory.startswith(str(cache))


def test_records_name_the_paths_that_the_tuner_knows():
    here = scratch.on_this_machine(REQUEST).directory
    end = EndRecord(outcome=Outcome.ERROR, message=f"no space left on {here}", log=f"{here}/trainer.log")
    told = scratch.as_known(end, here, REQUEST.directory)
    assert told.log == "/far/studies/s/trials/0000/trainer.log"
    assert told.message == end.message, "that is where there is no space"
    epoch = EpochRecord(
        epoch=1,
        losses={},
        metrics=None,
        seconds=1.0,
        memory_gib=0.1,
        learning_rate=0.1,
        batch=1,
        checkpoint=f"{here}/weights/last.pt",
    )
    assert scratch.as_known(epoch, here, REQUEST.directory).checkpoint == f"{REQUEST.directory}/weights/last.pt"


def test_a_folder_that_its_holder_removes_is_made_again_for_the_next_one(cache):
    folder = cache / "abc"
    with scratch.held(folder):
        waiting = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; from pathlib import Path; from trainer.artifacts import scratch\n"
                "with scratch.held(Path(sys.argv[1])): print(Path(sys.argv[1]).is_dir())",
                str(folder),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        time.sleep(0.3)
        folder.rmdir()
    assert waiting.communicate(timeout=30)[0] == "True\n"
    assert folder.with_suffix(".lock").exists()


def test_only_old_folders_that_no_run_holds_are_removed(cache):
    for name in ("old", "held", "new"):
        with scratch.held(cache / name):
            (cache / name / "weights").mkdir()
    for name in ("old", "held"):
        os.utime(cache / name, (0, 0))
    with scratch.held(cache / "held"):
        os.utime(cache / "held", (0, 0))
        scratch.remove_left_behind()
    assert {path.name for path in Path(cache).iterdir()} == {"held", "held.lock", "new", "new.lock"}
