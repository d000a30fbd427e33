"""The trainer as a child process: nothing is lost on the pipe, and nothing is left running."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import hear_all
from tuner.contract import EpochRecord, Outcome, StartedRecord, TrainRequest
from tuner.execution.trainer_process import TrainerProcess


def request_for(tmp_path, *, trial=0, epochs=5, **params):
    return TrainRequest(
        study="s",
        trial=trial,
        params={"lr0": 0.01, "batch": 16, **params},
        model="m",
        data="d",
        epochs=epochs,
        stop_epoch=epochs,
        validation_epochs=(epochs,),
        seed=0,
        devices=(),
        threads=1,
        directory=str(tmp_path / str(trial)),
    )


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def trainer(scripted_command):
    trainer = TrainerProcess(scripted_command)
    yield trainer
    trainer.close()


def test_a_request_is_answered_with_its_records_in_order(trainer, tmp_path):
    trainer.send(request_for(tmp_path))
    records = hear_all(trainer)
    assert isinstance(records[0], StartedRecord)
    assert [r.epoch for r in records if isinstance(r, EpochRecord)] == [1, 2, 3, 4, 5]
    assert records[-1].outcome == Outcome.COMPLETED


def test_one_trainer_serves_request_after_request(trainer, tmp_path):
    pids = []
    for trial in range(2):
        trainer.send(request_for(tmp_path, trial=trial))
        pids.append(hear_all(trainer)[0].pid)
    assert pids[0] == pids[1]


def test_a_new_request_stops_the_one_that_runs(scripted_command, tmp_path):
    trainer = TrainerProcess([*scripted_command[:2], "--epoch-seconds", "5"])
    trainer.send(request_for(tmp_path))
    assert trainer.receive(timeout_s=10)
    began = time.monotonic()
    trainer.send(request_for(tmp_path, trial=1))
    started = trainer.receive(timeout_s=10)
    assert isinstance(started[0], StartedRecord)
    assert time.monotonic() - began < 4
    trainer.close()


def test_a_killed_trainer_ends_its_request_as_retryable(trainer, tmp_path):
    trainer.send(request_for(tmp_path, epochs=500))
    pid = trainer.receive(timeout_s=10)[0].pid
    os.kill(pid, signal.SIGKILL)
    end = hear_all(trainer)[-1]
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)
    assert "SIGKILL" in end.message


def test_the_same_request_again_goes_on_where_the_killed_one_stopped(trainer, tmp_path):
    trainer.send(request_for(tmp_path, epochs=40))
    heard = []
    while len(heard) < 5:
        heard += trainer.receive(timeout_s=10)
    os.kill(heard[0].pid, signal.SIGKILL)
    before = [r.epoch for r in [*heard, *hear_all(trainer)] if isinstance(r, EpochRecord)]
    trainer.send(request_for(tmp_path, epochs=40))
    after = hear_all(trainer)
    assert [r.epoch for r in after if isinstance(r, EpochRecord)] == list(range(1, 41))
    assert before[-1] >= 4


def test_a_trainer_that_ends_without_a_word_is_an_error_and_not_retried(tmp_path):
    trainer = TrainerProcess([sys.executable, "-c", "raise SystemExit(3)"])
    trainer.send(request_for(tmp_path))
    end = hear_all(trainer)[-1]
    assert (end.outcome, end.retryable) == (Outcome.ERROR, False)
    assert end.message == "the trainer ended with exit code 3"


def test_a_used_trainer_that_ends_without_a_word_on_a_request_is_replaced(tmp_path):
    script = (
        "import os, sys\n"
        "from tuner.contract import EndRecord, Outcome, StartedRecord, encode\n"
        "sys.stdin.readline()\n"
        "print(encode(StartedRecord(pid=os.getpid(), device='')), encode(EndRecord(outcome=Outcome.COMPLETED)),"
        " sep='\\n', flush=True)\n"
        "sys.stdin.readline()\n"
        "raise SystemExit(1)\n"
    )
    trainer = TrainerProcess([sys.executable, "-c", script])
    pids = set()
    for trial in range(3):
        trainer.send(request_for(tmp_path, trial=trial))
        records = hear_all(trainer)
        assert records[-1].outcome == Outcome.COMPLETED
        pids.add(records[0].pid)
    assert len(pids) == 3
    trainer.close()


def test_a_trainer_that_writes_something_else_is_an_error(tmp_path):
    trainer = TrainerProcess([sys.executable, "-c", "print('Epoch 1/5', flush=True); input(); input()"])
    trainer.send(request_for(tmp_path))
    end = hear_all(trainer)[-1]
    assert end.outcome == Outcome.ERROR
    assert "one line of JSON" in end.message
    trainer.close()


def test_a_missing_trainer_command_is_an_error_record_too(tmp_path):
    trainer = TrainerProcess(["/nowhere/trainer"])
    trainer.send(request_for(tmp_path))
    end = hear_all(trainer)[-1]
    assert "/nowhere/trainer" in end.message


def test_closing_ends_the_trainer_and_its_children(tmp_path):
    script = (
        "import subprocess, sys, os\n"
        "from tuner.contract import StartedRecord, encode\n"
        "sys.stdin.readline()\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "print(encode(StartedRecord(pid=os.getpid(), device=str(child.pid))), flush=True)\n"
        "import time; time.sleep(600)\n"
    )
    trainer = TrainerProcess([sys.executable, "-c", script])
    trainer.send(request_for(tmp_path))
    (started,) = trainer.receive(timeout_s=10)
    trainer.close()
    assert not is_running(started.pid)
    deadline = time.monotonic() + 5
    while is_running(int(started.device)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(int(started.device))
