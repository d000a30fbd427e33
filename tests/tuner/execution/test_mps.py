"""Find out from its files if CUDA's multi-process service runs, and never start it."""

import os
import socket

import pytest

from tuner.execution.mps import mps_note


@pytest.fixture
def environment(tmp_path):
    """Return the environment of a machine with the service, whose folder does not exist yet."""
    program = tmp_path / "bin" / "nvidia-cuda-mps-control"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\ntouch started\n")
    program.chmod(0o755)
    return {"PATH": str(program.parent), "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "mps")}


def test_nothing_is_reported_without_the_program(environment, tmp_path):
    assert mps_note({**environment, "PATH": str(tmp_path)}) is None


def test_a_stopped_service_is_reported_with_its_command_and_not_started(environment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = mps_note(environment)
    assert line.startswith("CUDA's multi-process service (MPS) does not run;")
    assert line.endswith("start it before the run with `nvidia-cuda-mps-control -d`")
    assert not (tmp_path / "started").exists()


def test_a_service_without_its_socket_is_not_running(environment, tmp_path):
    (tmp_path / "mps").mkdir()
    (tmp_path / "mps" / "control").write_text("")
    assert "does not run" in mps_note(environment)


@pytest.mark.parametrize("kind", ["socket", "pipe"])
def test_a_running_service_is_reported_with_its_folder(environment, tmp_path, monkeypatch, kind):
    folder = tmp_path / "mps"
    folder.mkdir()
    monkeypatch.chdir(folder)  # the path of a socket must be short
    if kind == "pipe":
        os.mkfifo("control")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("control")
    expected = f"trials share the GPU through CUDA's multi-process service, which runs ({folder})"
    assert mps_note(environment) == expected
