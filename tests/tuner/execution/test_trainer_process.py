"""Run the trainer as a child process: nothing is lost on the pipe, and nothing is left running."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import hear_all
from tuner.contract import EpochRecord, Outcome, StartedRecord, TrainRequest
from tuner.execution.trainer_process import TrainerProcess
from tuner.execution.watchdog import HangTimeouts


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


def test_the_same_request_again_resumes_where_the_killed_one_stopped(trainer, tmp_path):
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


def test_a_trainer_that_ends_without_output_is_an_error_and_not_retried(tmp_path):
    trainer = TrainerProcess([sys.executable, "-c", "raise SystemExit(3)"])
    trainer.send(request_for(tmp_path))
    end = hear_all(trainer)[-1]
    assert (end.outcome, end.retryable) == (Outcome.ERROR, False)
    assert end.message == "the trainer ended with exit code 3"


def test_a_used_trainer_that_ends_without_output_on_a_request_is_replaced(tmp_path):
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


# A trainer that hangs

SHORT = HangTimeouts(start_s=0.3, least_s=0.3)

SILENT = """
import os, signal, subprocess, sys, time
from tuner.contract import EpochRecord, StartedRecord, encode

signal.signal(signal.SIGUSR1, lambda signum, frame: open(sys.argv[1], "w").write("stacks"))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.stdin.readline()
child = subprocess.Popen(["sleep", "600"])
print(encode(StartedRecord(pid=os.getpid(), device=str(child.pid))), flush=True)
if sys.argv[2] == "stopped":
    os.kill(os.getpid(), signal.SIGSTOP)
while True:
    time.sleep(600)
"""


@pytest.mark.parametrize("how", ["asleep", "stopped"])
def test_a_trainer_that_is_silent_for_too_long_is_killed_with_its_children_and_leaves_its_stacks(tmp_path, how):
    stacks = tmp_path / "stacks"
    trainer = TrainerProcess([sys.executable, "-c", SILENT, str(stacks), how])
    trainer.send(request_for(tmp_path), HangTimeouts(start_s=2.0, least_s=0.3))
    records = hear_all(trainer, timeout_s=30)
    started, end = records[0], records[-1]
    assert (end.outcome, end.retryable) == (Outcome.HUNG, True)
    assert end.message.startswith("no sign of life for ")
    assert stacks.read_text() == "stacks"
    wait_until_gone(started.pid)
    wait_until_gone(int(started.device))


def test_a_trainer_that_never_sends_output_is_killed_too(tmp_path):
    trainer = TrainerProcess([sys.executable, "-c", "import time; time.sleep(600)"])
    trainer.send(request_for(tmp_path), SHORT)
    pid = trainer._process.pid
    assert hear_all(trainer, timeout_s=30)[-1].outcome == Outcome.HUNG
    wait_until_gone(pid)


def test_after_a_hang_the_next_request_is_served_by_a_new_trainer(scripted_command, tmp_path):
    trainer = TrainerProcess(scripted_command)
    trainer.send(request_for(tmp_path, epochs=500), HangTimeouts(start_s=30.0, least_s=0.3))
    pid = trainer.receive(timeout_s=20)[0].pid
    while not any(isinstance(record, EpochRecord) for record in trainer.receive(timeout_s=20)):
        pass
    os.kill(pid, signal.SIGSTOP)
    assert hear_all(trainer, timeout_s=30)[-1].outcome == Outcome.HUNG
    trainer.send(request_for(tmp_path, trial=1))
    assert hear_all(trainer)[-1].outcome == Outcome.COMPLETED
    trainer.close()


def test_a_trainer_that_sends_records_is_never_too_slow(scripted_command, tmp_path):
    trainer = TrainerProcess([*scripted_command[:2], "--epoch-seconds", "0.1"])
    trainer.send(request_for(tmp_path, epochs=8), HangTimeouts(start_s=30.0, least_s=0.5, factor=1.0))
    assert hear_all(trainer)[-1].outcome == Outcome.COMPLETED  # 0.8 s in all
    trainer.close()


def wait_until_gone(pid):
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(pid)
