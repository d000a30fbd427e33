"""One run on two processes. Ranks on the CPU (gloo): what ranks on GPUs do, but for the device."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.ultralytics_bridge import environment

environment.configure()

from trainer.run_state.checkpoints import Checkpoints  # noqa: E402
from trainer.run_state.epoch_log import RecordLog  # noqa: E402
from trainer.system.processes import OomWatch  # noqa: E402
from trainer.training import distributed, trial  # noqa: E402 - only after the environment is set
from trainer.ultralytics_bridge.checkpoints import check_resumable  # noqa: E402
from tuner.contract import EndRecord, Outcome, decode, encode  # noqa: E402


@pytest.fixture
def start(train_request):
    def run(request, *, resume=False, trained=0):
        Path(request.directory).mkdir(exist_ok=True)
        overrides = trial._arguments(request)
        if resume:
            overrides["resume"] = str(Path(request.directory) / "weights" / "last.pt")
        told = []
        end = distributed.train(request, overrides, num_ranks=2, trained=trained, emit=told.append)
        return end, told

    return run


def rank_processes(request):
    """The processes that have the run's plan on their command line: torchrun and the ranks."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            if f"{request.directory}/ranks.json".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.mark.slow
def test_two_ranks_that_stop_and_go_on_are_the_run_of_two_that_never_stop(start, train_request, tmp_path):
    """Their records in order and once, their losses and values to the last bit, and what a full run leaves."""
    augmented = {"batch": 6, "nbs": 12, "mosaic": 1.0, "mixup": 0.3, "close_mosaic": 1}
    request = train_request(epochs=3, full=True, validation_epochs=(1, 2, 3), **augmented)
    _, undisturbed = start(replace(request, directory=str(tmp_path / "undisturbed")))
    end, first = start(replace(request, stop_epoch=2))
    assert end.outcome == Outcome.COMPLETED, end
    end, others = start(request, resume=True, trained=2)
    assert end.outcome == Outcome.COMPLETED, end
    assert [record.epoch for record in (*first, *others)] == [1, 2, 3]
    values = [(record.losses, record.metrics, record.learning_rate) for record in undisturbed]
    assert [(record.losses, record.metrics, record.learning_rate) for record in (*first, *others)] == values
    assert all(record.metrics is not None for record in undisturbed)
    assert Path(end.checkpoint).is_file()
    assert set(end.metrics) == {"mAP50-95", "mAP50", "precision", "recall"}
    assert rank_processes(request) == []


@pytest.mark.slow
def test_divergence_in_the_ranks_is_the_outcome_of_the_run(start, train_request):
    request = train_request(epochs=3, optimizer="SGD", lr0=1e6)
    end, told = start(request)
    assert end.outcome == Outcome.DIVERGED
    assert told == []
    assert rank_processes(request) == []


def test_an_interrupted_run_leaves_no_rank_behind(train_request, tmp_path):
    request = train_request(epochs=500, validation_epochs=())
    Path(request.directory).mkdir()
    code = (
        "import sys, json, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a job of a shell's background\n"
        "from pathlib import Path\n"
        "from trainer.ultralytics_bridge import environment; environment.configure()\n"
        "from trainer.training import distributed, trial\n"
        "from tuner.contract import decode\n"
        "request = decode(Path(sys.argv[1]).read_text())\n"
        "distributed.train(request, trial._arguments(request), num_ranks=2, trained=0, emit=print)\n"
    )
    from tuner.contract import encode

    (tmp_path / "request").write_text(encode(request))
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "request")])
    records = RecordLog(Path(request.directory))
    deadline = time.monotonic() + 60
    while not records.read() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(rank_processes(request)) == 3, "torchrun and two ranks"
    parent.send_signal(signal.SIGINT)
    parent.wait(20)
    deadline = time.monotonic() + 10
    while rank_processes(request) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert rank_processes(request) == []


@pytest.mark.parametrize(("kills", "outcome"), [([0, 0], Outcome.ERROR), ([0, 1], Outcome.OUT_OF_MEMORY)])
def test_ranks_that_torchrun_stopped_are_a_run_that_lost_one(train_request, kills, outcome):
    request = train_request(epochs=1)
    Path(request.directory).mkdir()
    Path(request.directory, distributed.END).write_text(encode(EndRecord(outcome=Outcome.STOPPED)))
    watch = OomWatch(iter(kills).__next__)
    end = distributed._end_of_ranks(request, 1, watch)
    assert (end.outcome, end.retryable) == (outcome, outcome == Outcome.ERROR)


RUN_TWO_RANKS = """
import os, sys
from pathlib import Path
from trainer.ultralytics_bridge import environment; environment.configure()
from trainer.training import distributed, trial
from tuner.contract import decode, encode
request = decode(Path(sys.argv[1]).read_text())
end = distributed.train(request, trial._arguments(request), num_ranks=2, trained=0, emit=lambda record: None)
Path(sys.argv[2]).write_text(encode(end))
"""


def begin_two_ranks(request, folder):
    """The parent of two ranks, in a process group of its own; it writes its end to the file `end`."""
    Path(request.directory).mkdir()
    (folder / "request").write_text(encode(request))
    command = [sys.executable, "-c", RUN_TWO_RANKS, str(folder / "request"), str(folder / "end")]
    return subprocess.Popen(command, start_new_session=True)


@pytest.mark.slow
def test_ranks_write_their_stacks_on_sigusr1_and_a_killed_one_makes_the_run_worth_another_try(train_request, tmp_path):
    request = train_request(epochs=500, validation_epochs=())
    parent = begin_two_ranks(request, tmp_path)
    try:
        wait_for(lambda: RecordLog(Path(request.directory)).read(), 60)
        # The process that starts the ranks has no part in this: in a trial the fork server has prepared it.
        ours = [pid for pid in rank_processes(request) if pid != parent.pid]
        for pid in ours:
            os.kill(pid, signal.SIGUSR1)

        def dumps():
            return [path for path in Path(request.directory, "stacks").glob("*.txt") if "_do_train" in path.read_text()]

        wait_for(lambda: len(dumps()) == 2, 10)
        assert rank_processes(request) == ours, "torchrun did not die of it"
        os.kill(int(dumps()[0].stem), signal.SIGKILL)
        parent.wait(60)
    finally:
        if parent.poll() is None:
            os.killpg(parent.pid, signal.SIGKILL)
    end = decode((tmp_path / "end").read_text())
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True), end
    wait_for(lambda: not rank_processes(request), 10)


def wait_for(condition, timeout_s):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_two_ranks_killed_at_any_moment_go_on_with_the_losses_of_two_that_are_not(start, make_request, tmp_path, seed):
    params = {"batch": 6, "nbs": 12, "mosaic": 1.0, "mixup": 0.3, "close_mosaic": 1}
    whole = make_request(tmp_path / "whole", epochs=5, validation_epochs=(3, 5), **params)
    _, undisturbed = start(whole)
    killed = replace(whole, directory=str(tmp_path / "killed"))
    parent = begin_two_ranks(killed, tmp_path)
    try:
        wait_for(lambda: RecordLog(Path(killed.directory)).read(), 60)
        time.sleep(random.Random(seed).uniform(0, 3 * undisturbed[-1].seconds))
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
    wait_for(lambda: not rank_processes(killed), 30)
    trained = Checkpoints(Path(killed.directory) / "weights").recover(check_resumable)
    first = RecordLog(Path(killed.directory)).restore(trained)
    others = [] if trained == 5 else start(killed, resume=trained > 0, trained=trained)[1]
    assert [record.losses for record in (*first, *others)] == [record.losses for record in undisturbed]
    assert {record.epoch: record.metrics for record in (*first, *others)}[5] == undisturbed[-1].metrics
