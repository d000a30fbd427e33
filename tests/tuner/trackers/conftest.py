"""Provide servers for trackers, and the environment that every test of a tracker needs."""

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
    """Create an SQLite file with MLflow's tables, once: this takes longer than most tests."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    code = f"from mlflow.tracking import MlflowClient; MlflowClient('sqlite:///{file}').search_experiments()"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return file


@pytest.fixture
def mlflow_uri(tmp_path, monkeypatch, mlflow_tables):
    """Set an empty database of MLflow in the environment. Return its address."""
    shutil.copy(mlflow_tables, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture(autouse=True)
def destinations(monkeypatch):
    """Keep trackers away from real servers."""
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
    """Start a server that accepts every connection and never answers. Yield its port."""
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
