"""A closed terminal, a closed pipe, a log on a full disk: the run ends in order, or continues."""

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from tests.conftest import SCRIPTED_TRAINER
from tests.support.arena import assert_nothing_lost, assert_nothing_runs, assert_orderly_end


class Terminal:
    """A command that leads the session of a real terminal."""

    def __init__(self, command, *, cwd, env):
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(command[0], command, env)
        self.shown = b""
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        while not self._closing.is_set():
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._master, 65536)
                except OSError:  # the command has ended
                    return

    def close(self):
        """Close the terminal, as when the window is closed or the connection is lost."""
        self._closing.set()
        self._reader.join()
        os.close(self._master)

    def exit_code(self, timeout_s=60):
        deadline = time.monotonic() + timeout_s
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"it did not end within {timeout_s} s: {self.shown.decode()}")
            time.sleep(0.05)
        return os.waitstatus_to_exitcode(ended[1])


def train_command(folder, *, epochs=12):
    trainer = f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds 0.1 --journal {folder / 'played.jsonl'}"
    wanted = ["--data", "sample", "--model", "mamba-yolo-n", "--gpus", "0", "--out", "run", "--epochs", str(epochs)]
    return [sys.executable, "-m", "tuner", "train", *wanted, "--trainer", trainer]


def epochs_played(folder):
    played = folder / "played.jsonl"
    return played.read_text().count('"event": "epoch"') if played.exists() else 0


@contextmanager
def closed_during(terminal, condition, timeout_s=60):
    """Close the terminal as soon as the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, terminal.shown.decode()
        time.sleep(0.05)
    terminal.close()
    yield


@pytest.mark.slow
@pytest.mark.parametrize("plain", [True, False])
def test_a_search_whose_terminal_is_closed_ends_in_order_and_the_same_command_resumes(arena, plain):
    arguments = arena.run_arguments(epoch_seconds=0.15)
    command = arena.command("run", *(argument for argument in arguments if plain or argument != "--plain"))
    terminal = Terminal(command, cwd=arena.folder, env={**arena.environment, "TERM": "xterm"})
    with closed_during(terminal, lambda: len(arena.events("epoch")) >= 6):
        assert terminal.exit_code() == 129
    before = arena.status()
    assert before["counts"]["RUNNING"] == 0
    assert before["counts"]["WAITING"] >= 1
    assert_nothing_runs(arena)
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, before=before, most_redone=2)


def test_a_full_run_whose_terminal_is_closed_ends_in_order_and_the_same_command_resumes(tmp_path):
    terminal = Terminal(train_command(tmp_path), cwd=tmp_path, env=os.environ)
    with closed_during(terminal, lambda: epochs_played(tmp_path) >= 3):
        assert terminal.exit_code() == 129
    done = subprocess.run(train_command(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert_orderly_end(done.returncode, done.stdout + done.stderr, 0)
    assert epochs_played(tmp_path) == 12


def test_under_nohup_a_closed_terminal_has_no_effect(tmp_path):
    terminal = Terminal(["nohup", *train_command(tmp_path)], cwd=tmp_path, env=os.environ)
    with closed_during(terminal, lambda: epochs_played(tmp_path) >= 3):
        assert terminal.exit_code() == 0
    assert epochs_played(tmp_path) == 12
    assert "epoch 12/12" in (tmp_path / "nohup.out").read_text()


def test_a_run_that_outlives_its_terminal_continues_without_output(tmp_path):
    """As after `disown` or `setsid`: no SIGHUP comes, but each write to the terminal is an error."""
    ignoring = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh"]
    terminal = Terminal([*ignoring, *train_command(tmp_path)], cwd=tmp_path, env=os.environ)
    with closed_during(terminal, lambda: epochs_played(tmp_path) >= 3):
        assert terminal.exit_code() == 0
    assert epochs_played(tmp_path) == 12


def test_a_search_whose_output_pipe_is_closed_continues(arena):
    process = arena.start(epoch_seconds=0.05)
    arena.wait_for(lambda: arena.events("epoch"))
    process.stdout.close()  # as after `tune run | head -1`
    assert process.wait(timeout=60) == 0
    assert_nothing_lost(arena)


def test_a_run_whose_log_is_on_a_full_disk_continues_and_says_so_at_the_end(tmp_path):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            train_command(tmp_path, epochs=3), cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert epochs_played(tmp_path) == 3
    assert done.returncode == 5
    assert done.stderr == "The command succeeded, but its output could not be written: No space left on device.\n"


def test_output_that_is_not_read_to_its_end_is_not_a_failure(tmp_path):
    command = [sys.executable, "-m", "tuner", "--help"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    _, errors = process.communicate(timeout=60) if process.stdout is None else (None, process.stderr.read())
    assert (process.wait(timeout=60), errors) == (0, "")
    process.stderr.close()
