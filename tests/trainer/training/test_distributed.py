"""One run on two processes. Ranks on the CPU (gloo) do the same as ranks on GPUs, except for the device."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from trainer.ultralytics_bridge import environment

environment.configure()

from trainer.run_state.checkpoints import Checkpoints  # noqa: E402
from trainer.run_state.epoch_log import RecordLog  # noqa: E402
from trainer.system.processes import OomWatch  # noqa: E402
from trainer.training import distributed, trial  # noqa: E402 - only after the environment is set
from trainer.ultralytics_bridge.checkpoints import check_resumable, load  # noqa: E402
from tuner.contract import Outcome, decode, encode  # noqa: E402
from tuner.contract.run_folder import CLASS_METRICS  # noqa: E402


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
    """List the processes with the run's plan on their command line: the ranks and their data loaders."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            if f"{request.directory}/ranks.json".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.mark.slow
def test_two_ranks_that_stop_and_resume_are_the_run_of_two_that_never_stop(start, train_request, tmp_path):
    """They send the same records once and in order, with bit-identical losses and values, and leave the same files."""
    augmented = {"batch": 6, "nbs": 12, "mosaic": 1.0, "mixup": 0.3, "close_mosaic": 1}
    request = train_request(epochs=3, full=True, validation_epochs=(1, 2, 3), **augmented)
    _, undisturbed = start(replace(request, directory=str(tmp_path / "undisturbed")))
    end, first = start(replace(request, stop_epoch=2, full=False))
    assert end.outcome == Outcome.COMPLETED, end
    end, others = start(request, resume=True, trained=2)
    assert end.outcome == Outcome.COMPLETED, end
    assert [record.epoch for record in (*first, *others)] == [1, 2, 3]
    values = [(record.losses, record.metrics, record.learning_rate) for record in undisturbed]
    assert [(record.losses, record.metrics, record.learning_rate) for record in (*first, *others)] == values
    assert all(record.metrics is not None for record in undisturbed)
    assert set(end.metrics) == {"mAP50-95", "mAP50", "precision", "recall"}
    assert load(end.checkpoint)[1]["optimizer"] is None, "best.pt has been evaluated and stripped"
    assert Path(request.directory, CLASS_METRICS).is_file()
    assert rank_processes(request) == []


@pytest.mark.slow
def test_ranks_share_decoded_images_and_train_the_same(start, train_request, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    request = train_request(epochs=2, validation_epochs=(2,), mosaic=1.0)
    _, without = start(replace(request, directory=str(tmp_path / "without")))
    end, told = start(replace(request, image_cache_bytes=2**30))
    assert end.outcome == Outcome.COMPLETED, end
    assert [(record.losses, record.metrics) for record in told] == [(r.losses, r.metrics) for r in without]
    assert len(list((tmp_path / "cache/mamba-yolo-tuner/decoded").glob("??/*"))) == 20


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
    assert len(rank_processes(request)) == 2
    parent.send_signal(signal.SIGINT)
    parent.wait(20)
    deadline = time.monotonic() + 10
    while rank_processes(request) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert rank_processes(request) == []


RANK = """
import os, signal, subprocess, sys, time
from pathlib import Path
from tuner.contract import EndRecord, Outcome, encode
plan, pipe, rank = Path(sys.argv[1]), int(sys.argv[2]), int(os.environ["RANK"])

def end(**fields):
    os.write(pipe, encode(EndRecord(**fields)).encode())
    raise SystemExit(0 if fields["outcome"] == Outcome.COMPLETED else 1)

def wait_in_c():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # like a rank that waits in C code
    time.sleep(60)

def note(pid):
    plan.with_name(f"pid-{rank}").write_text(str(pid))
"""


@pytest.fixture
def with_ranks(train_request):
    """Return a function that gives the end, the time and the folder of a run whose ranks execute these lines."""

    def run(*lines):
        request = train_request(epochs=1)
        directory = Path(request.directory)
        directory.mkdir()
        began = time.monotonic()
        end = distributed.train(
            request,
            {},
            num_ranks=2,
            trained=0,
            emit=print,
            rank_command=(sys.executable, "-c", RANK + "\n".join(lines)),
        )
        assert rank_processes(request) == []
        return end, time.monotonic() - began, directory

    return run


def is_alive(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_rank_ends_those_that_wait_for_it_and_makes_the_run_retryable(with_ranks, signum):
    end, took_s, _ = with_ranks(f"wait_in_c() if rank == 0 else os.kill(os.getpid(), {int(signum)})")
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)
    assert f"rank 1 was killed by {signum.name}" in end.message
    assert took_s < 15


def test_the_cause_that_one_rank_reports_wins_over_the_lost_connections_of_the_others(with_ranks):
    end, _, _ = with_ranks(
        "if rank == 0:",
        "    end(outcome=Outcome.ERROR, message='the ranks lost their connection', retryable=True)",
        "end(outcome=Outcome.OUT_OF_MEMORY, message='too large')",
    )
    assert (end.outcome, end.message) == (Outcome.OUT_OF_MEMORY, "too large")


@pytest.mark.parametrize("outcome", ["DIVERGED", "OUT_OF_MEMORY", "BAD_DATA"])
def test_one_rank_that_fails_ends_the_run_within_seconds(with_ranks, outcome):
    end, took_s, _ = with_ranks(f"wait_in_c() if rank == 0 else end(outcome=Outcome.{outcome}, message='because')")
    assert (end.outcome, end.message) == (Outcome[outcome], "because")
    assert took_s < 15


def test_a_rank_that_ends_silently_is_named_with_its_exit_code(with_ranks):
    end, _, _ = with_ranks("wait_in_c() if rank == 0 else sys.exit(3)")
    assert (end.outcome, end.retryable) == (Outcome.ERROR, False)
    assert "rank 1 ended with exit code 3" in end.message


def test_a_rank_that_someone_stops_makes_the_run_retryable(with_ranks):
    end, _, _ = with_ranks("wait_in_c() if rank == 0 else end(outcome=Outcome.STOPPED)")
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)


def test_the_loaders_of_a_killed_rank_are_gone_when_the_run_has_ended(with_ranks):
    """They would notice only after seconds, and occupy the device until then."""
    _, _, directory = with_ranks(
        "if rank == 0:",
        "    wait_in_c()",
        "note(subprocess.Popen(['sleep', '60']).pid)",
        "os.kill(os.getpid(), signal.SIGKILL)",
    )
    assert not is_alive(int((directory / "pid-1").read_text()))


def test_the_ranks_stay_in_the_process_group_of_the_run(with_ranks):
    """A signal to the group, such as a kill or a request for stacks, thus reaches them."""
    _, _, directory = with_ranks("note(os.getpgid(0))", "end(outcome=Outcome.COMPLETED)")
    assert {int((directory / f"pid-{rank}").read_text()) for rank in (0, 1)} == {os.getpgid(0)}


@pytest.mark.parametrize(("kills", "outcome"), [([0, 0], Outcome.ERROR), ([0, 1], Outcome.OUT_OF_MEMORY)])
def test_a_rank_that_the_kernel_killed_for_memory_makes_the_run_out_of_memory(train_request, kills, outcome):
    ranks = SimpleNamespace(failed={1: -signal.SIGKILL}, end_record=lambda rank: None)
    end = distributed._end_of(train_request(epochs=1), ranks, OomWatch(iter(kills).__next__))
    assert (end.outcome, end.retryable) == (outcome, outcome == Outcome.ERROR)


RUN_TWO_RANKS = """
import os, sys
from pathlib import Path
from trainer.system.stack_dumps import dump_on_request
from trainer.ultralytics_bridge import environment; environment.configure()
from trainer.training import distributed, trial
from tuner.contract import decode, encode
request = decode(Path(sys.argv[1]).read_text())
dump_on_request(Path(request.directory))
end = distributed.train(request, trial._arguments(request), num_ranks=2, trained=0, emit=lambda record: None)
Path(sys.argv[2]).write_text(encode(end))
"""


def begin_two_ranks(request, folder):
    """Start the parent of two ranks, in its own process group; it writes its end to the file `end`."""
    Path(request.directory).mkdir()
    (folder / "request").write_text(encode(request))
    command = [sys.executable, "-c", RUN_TWO_RANKS, str(folder / "request"), str(folder / "end")]
    return subprocess.Popen(command, start_new_session=True)


@pytest.mark.slow
def test_ranks_write_their_stacks_on_sigusr1_and_a_killed_one_makes_the_run_retryable(train_request, tmp_path):
    request = train_request(epochs=500, validation_epochs=())
    parent = begin_two_ranks(request, tmp_path)
    try:
        wait_for(lambda: RecordLog(Path(request.directory)).read(), 60)
        ours = rank_processes(request)
        os.killpg(parent.pid, signal.SIGUSR1)

        def dumps():
            return [path for path in Path(request.directory, "stacks").glob("*.txt") if "_do_train" in path.read_text()]

        wait_for(lambda: len(dumps()) == 2, 10)
        assert rank_processes(request) == ours, "nobody died of it"
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
def test_two_ranks_killed_at_any_moment_resume_with_the_losses_of_two_that_are_not(start, make_request, tmp_path, seed):
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
