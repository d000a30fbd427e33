"""Servers that trackers log to, and what every test of a tracker needs."""

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture(scope="session")
def mlflow_tables(tmp_path_factory) -> Path:
    """An SQLite file with MLflow's tables: making them takes longer than most tests."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    code = f"from mlflow.tracking import MlflowClient; MlflowClient('sqlite:///{file}').search_experiments()"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return file


@pytest.fixture
def mlflow_uri(tmp_path, monkeypatch, mlflow_tables):
    """The address of an empty database of MLflow, in the environment too."""
    shutil.copy(mlflow_tables, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture(autouse=True)
def destinations(monkeypatch):
    """Let nothing be sent to anybody."""
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "WANDB_PROJECT", "WANDB_DIR", "WANDB_RUN_GROUP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
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
