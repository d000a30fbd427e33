"""Shut Ray down at the end of a run, whatever happens meanwhile."""

import subprocess
import sys

PROGRAM = """
import signal, sys
import ray
from tuner.execution.watchdog import HangTimeouts
from tuner.system.signals import Interrupted, trapped_signals
from tuner.workflows.machines import connected_machines
from tuner.workflows.options import Machines

shutdown = ray.shutdown

def shutdown_with_a_signal():
    signal.raise_signal(signal.SIGUSR1)
    shutdown()
    print("Ray is shut down", flush=True)

ray.shutdown = shutdown_with_a_signal
machines = Machines(gpus=0, parallel=1, address=sys.argv[1], trainer=("true",), hang_timeouts=HangTimeouts())
try:
    with trapped_signals() as signals, connected_machines(machines, signals):
        {body}
except Interrupted as interrupted:
    has_core_worker = hasattr(ray._private.worker.global_worker, "core_worker")
    print(f"exit code {{interrupted.exit_code}}, core worker: {{has_core_worker}}")
"""


def output(address: str, body: str) -> list[str]:
    """Return the lines of a program that gets a signal while Ray shuts down."""
    program = [sys.executable, "-c", PROGRAM.format(body=body), address]
    return subprocess.run(program, check=True, capture_output=True, text=True, timeout=120).stdout.splitlines()


def test_a_signal_during_the_shutdown_of_ray_raises_after_it(ray_cluster: str) -> None:
    """A core worker that is shut down, but still referred to, ends the process with exit code 1 at its next use."""
    assert output(ray_cluster, "pass") == ["Ray is shut down", "exit code 75, core worker: False"]


def test_ray_is_shut_down_even_if_an_earlier_signal_has_ended_the_run(ray_cluster: str) -> None:
    body = "signal.raise_signal(signal.SIGINT)"
    assert output(ray_cluster, body) == ["Ray is shut down", "exit code 130, core worker: False"]
