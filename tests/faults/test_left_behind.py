"""Nothing stays in the temporary folder, however a command ends; the next command removes what a kill leaves."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.conftest import SCRIPTED_TRAINER
from tests.support.arena import assert_orderly_end

DATA = ["--data", "sample:20", "--model", "mamba-yolo-n", "--gpus", "0"]


@pytest.fixture
def temporary():
    """Yield a folder for temporary files with a short path, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def own_arena(lone_arena, temporary):
    lone_arena.environment["TMPDIR"] = str(temporary)
    return lone_arena


def tune(*arguments, cwd, temporary, timeout_s=240):
    return subprocess.run(
        [sys.executable, "-m", "tuner", *arguments],
        cwd=cwd,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["doctor"], marks=pytest.mark.slow),
        ["data", "check", "sample:20"],
        ["data", "check", "missing.yaml"],
        pytest.param(["preview", "--data", "sample:20", "--out", "sheets"], marks=pytest.mark.slow),
        pytest.param(
            ["train", *DATA, "--epochs", "1", "--set", "imgsz=32", "--set", "batch=4", "--out", "run"],
            marks=pytest.mark.slow,
        ),
        pytest.param(["run", "--space", "quick", *DATA, "--epochs", "2", "--dry-run"], marks=pytest.mark.slow),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_no_verb_leaves_anything_behind(arguments, tmp_path, temporary):
    done = tune(*arguments, cwd=tmp_path, temporary=temporary)
    assert "Traceback" not in done.stderr
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_search_and_a_signal_leave_nothing_behind(own_arena, temporary):
    process = own_arena.start(epoch_seconds=0.15)
    own_arena.wait_for(lambda: len(own_arena.events("epoch")) >= 4)
    assert len(list(temporary.iterdir())) == 1, "more than one folder of ours"
    process.terminate()
    output, _ = process.communicate(timeout=30)
    assert_orderly_end(process.returncode, output, 143)
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [None, "2"])
def test_a_whole_search_with_its_promotion_leaves_nothing_behind(own_arena, temporary, epochs):
    more = ["--trials", "2", *(["--promote-epochs", epochs] if epochs else [])]
    code, output = own_arena.run(promote=True, more=more)
    assert_orderly_end(code, output, 0)
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_run_that_loses_ray_leaves_nothing_behind(own_arena, temporary):
    process = own_arena.start(epoch_seconds=0.3)
    own_arena.wait_for(lambda: len(own_arena.events("epoch")) >= 4)
    (server,) = [child for child in psutil.Process(process.pid).children() if child.name() == "gcs_server"]
    server.kill()
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 5)
    own_arena.wait_for(lambda: not own_arena.processes(), timeout_s=30)
    assert list(temporary.iterdir()) == []


def test_the_next_command_removes_what_a_killed_run_leaves(tmp_path, temporary):
    trainer = f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds 0.1"
    command = ["train", *DATA, "--out", "run", "--epochs", "30", "--trainer", trainer]
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", *command],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    )
    while not process.stdout.readline().startswith("epoch"):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(temporary.iterdir()) != []
    done = tune("train", *command[1:-4], "--epochs", "30", "--trainer", trainer, cwd=tmp_path, temporary=temporary)
    assert_orderly_end(done.returncode, done.stdout + done.stderr, 0)
    assert list(temporary.iterdir()) == []
