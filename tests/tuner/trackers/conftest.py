"""Servers that trackers log to, and what every test of a tracker needs."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tuner.trackers.messages import Kind, LoggedRun, Subject

RUN = LoggedRun(
    key="trial-0003",
    kind=Kind.TRIAL,
    name="trial 3",
    state="RUNNING",
    params={"lr0": 0.1, "optimizer": "SGD", "cos_lr": True},
    points={1: {"train/box": 2.0}, 3: {"train/box": 1.0, "mAP50-95": 0.25}},
    last_epoch=3,
)


@pytest.fixture(autouse=True)
def destinations(tmp_path, monkeypatch):
    """Let nothing be sent to anybody, and let MLflow use a file of its own."""
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "WANDB_PROJECT", "WANDB_DIR", "WANDB_RUN_GROUP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture
def subject(paths):
    return Subject(
        name="s",
        study_id="ab12cd34",
        folder=str(paths.root),
        tensorboard=str(paths.tensorboard),
        wandb_epochs=str(paths.wandb_epochs),
    )


@pytest.fixture
def silent_port() -> Iterator[int]:
    """The port of a server that takes every connection and never answers."""
    held = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()
