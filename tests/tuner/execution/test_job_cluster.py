"""Answer the questions of a job's batch script about its Ray cluster."""

import os
import socket
import subprocess
import sys

MODULE = [sys.executable, "-P", "-m", "tuner.execution.job_cluster"]


def test_a_place_is_an_address_of_this_machine_with_two_free_ports():
    done = subprocess.run([*MODULE, "place"], capture_output=True, text=True, check=True, timeout=60)
    host, *ports = done.stdout.split()
    assert len(set(ports)) == 2
    for port in ports:
        socket.create_server((host, int(port))).close()


def test_nodes_are_awaited_until_all_have_joined(ray_cluster):
    command = [*MODULE, "await", ray_cluster, "1", str(os.getpid())]
    assert subprocess.run(command, timeout=60).returncode == 0


def test_nodes_that_can_no_longer_join_are_not_awaited():
    with subprocess.Popen(["true"]) as starter:
        starter.wait()
    command = [*MODULE, "await", "127.0.0.1:1", "2", str(starter.pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 5
    assert "Ray must start on all 2 nodes of the job within 300 s, but it has started on 0; " in done.stderr


def test_an_unknown_step_is_refused():
    assert subprocess.run([*MODULE, "stop"], capture_output=True, timeout=60).returncode == 2
