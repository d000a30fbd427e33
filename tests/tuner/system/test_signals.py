"""Handle signals: once, twice, ignored, and in a main thread that hangs."""

import contextlib
import signal
import subprocess
import sys
import time

import pytest

from tuner.system.signals import Interrupted, trapped_signals


def in_a_process(program, **options):
    """Start a process that waits for signals."""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout.readline() == "ready\n"
    return process


WAITING = """
import sys, time
from tuner.system.signals import Interrupted, trapped_signals
try:
    with trapped_signals() as signals, signals.ending(lambda reason: None):
        print("ready", flush=True)
        while signals.received is None:
            time.sleep(0.01)
        time.sleep({end_s})
        print("ended", flush=True)
except Interrupted as interrupted:
    sys.exit(interrupted.exit_code)
"""


@pytest.mark.parametrize(
    ("signum", "code"),
    [
        (signal.SIGHUP, 129),
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGUSR1, 75),
        (signal.SIGUSR2, 75),
    ],
)
def test_each_signal_has_its_exit_code(signum, code):
    with pytest.raises(Interrupted) as caught, trapped_signals():
        signal.raise_signal(signum)
    assert caught.value.exit_code == code


def test_a_hang_up_that_was_ignored_from_the_start_stays_ignored():
    process = in_a_process(WAITING.format(end_s=0), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 143


def swallow_a_signal(finished):
    """Swallow every exception, as some extensions do on import."""
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGTERM)
        finished.append("the statement after the signal")
    finished.append("the block")


def test_a_deferred_signal_ends_the_block_even_if_its_code_swallows_every_exception():
    finished = []
    with pytest.raises(Interrupted), trapped_signals() as signals, signals.deferred():
        swallow_a_signal(finished)
    assert finished == ["the statement after the signal", "the block"]


def test_a_deferred_signal_ends_every_later_block_before_it_begins():
    with trapped_signals() as signals:
        with pytest.raises(Interrupted), signals.deferred():
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted), signals.deferred():
            pytest.fail("the block has begun")


def hold_back_a_signal(signals, finished):
    """Get a signal in a block that holds it back."""
    with signals.held_back():
        signal.raise_signal(signal.SIGTERM)
        finished.append("the block")
    finished.append("the rest")


def test_a_signal_that_is_held_back_raises_after_the_block():
    finished = []
    with pytest.raises(Interrupted), trapped_signals() as signals:
        hold_back_a_signal(signals, finished)
    assert finished == ["the block"]


def test_a_block_that_holds_signals_back_runs_even_if_one_has_ended_the_run():
    finished = []
    with trapped_signals() as signals:
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        hold_back_a_signal(signals, finished)
    assert finished == ["the block", "the rest"]


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_comes_at_once_again_is_the_same_request(again):
    """Send it like `timeout`, to its child and then to the group; systemd does so with SendSIGHUP."""
    process = in_a_process(WAITING.format(end_s=1.0))
    process.terminate()
    time.sleep(0.05)
    process.send_signal(again)
    assert process.communicate(timeout=10)[0] == "ended\n", "the second one has ended it"
    assert process.returncode == 143


def test_several_hang_ups_of_a_terminal_count_as_one():
    process = in_a_process(WAITING.format(end_s=2.0))
    for _ in range(4):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.4)
    assert process.communicate(timeout=10)[0] == "ended\n"
    assert process.returncode == 129


def test_a_second_signal_some_time_later_ends_the_process_at_once():
    process = in_a_process(WAITING.format(end_s=30))
    process.terminate()
    time.sleep(0.6)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 130


def test_another_thread_handles_a_signal_that_the_main_thread_does_not():
    """Block the main thread in C code, where it runs no handler: it waits for a mutex that it holds itself."""
    program = """
import ctypes, os, sys, threading, time
from tuner.system.signals import trapped_signals
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)  # zeros are a mutex that nobody holds
with trapped_signals() as signals:
    def heard():
        while sys._current_frames()[threading.main_thread().ident].f_lineno != hangs_at:  # it may still be in start()
            time.sleep(0.01)
        print("ready", flush=True)
        os._exit(signals.awaited(10.0).exit_code)
    libc.pthread_mutex_lock(mutex)
    hangs_at = sys._getframe().f_lineno + 2
    threading.Thread(target=heard).start()
    libc.pthread_mutex_lock(mutex)
"""
    process = in_a_process(program)
    process.terminate()
    assert process.wait(10) == 143


def test_nothing_is_handled_without_a_signal():
    with trapped_signals() as signals:
        assert signals.awaited(0.01) is None
