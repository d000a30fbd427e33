"""One run on two processes. Ranks on the CPU (gloo): what ranks on GPUs do, but for the device."""

import contextlib
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.ultralytics_bridge import environment

environment.configure()

from trainer import ranks, trial  # noqa: E402 - only after the environment is set
from trainer.records import RecordLog  # noqa: E402
from tuner.contract import Outcome  # noqa: E402


@pytest.fixture
def start(train_request):
    def run(request, *, resume=False, trained=0):
        Path(request.directory).mkdir(exist_ok=True)
        overrides = trial._arguments(request)
        if resume:
            overrides["resume"] = str(Path(request.directory) / "weights" / "last.pt")
        told = []
        end = ranks.train(request, overrides, num_ranks=2, trained=trained, emit=told.append)
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


def test_two_ranks_train_one_run_whose_records_are_told_in_order(start, train_request):
    request = train_request(epochs=2, full=True, validation_epochs=(1, 2))
    end, told = start(request)
    assert end.outcome == Outcome.COMPLETED, end
    assert [record.epoch for record in told] == [1, 2]
    assert all(record.metrics is not None for record in told)
    assert Path(end.checkpoint).is_file()
    assert set(end.metrics) == {"mAP50-95", "mAP50", "precision", "recall"}
    assert rank_processes(request) == []


def test_two_ranks_go_on_from_a_checkpoint(start, train_request):
    first = train_request(epochs=3, full=False)
    assert start(replace(first, stop_epoch=2))[0].outcome == Outcome.COMPLETED
    end, told = start(first, resume=True, trained=2)
    assert end.outcome == Outcome.COMPLETED
    assert [record.epoch for record in told] == [3]


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
        "from trainer import ranks, trial\n"
        "from tuner.contract import decode\n"
        "request = decode(Path(sys.argv[1]).read_text())\n"
        "ranks.train(request, trial._arguments(request), num_ranks=2, trained=0, emit=print)\n"
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
