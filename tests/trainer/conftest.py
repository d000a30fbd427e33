"""A tiny real data set, and a real trainer to train on it."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.conftest import hear_all
from trainer.data.sample import sample
from tuner.contract import PreparedRecord, PrepareRequest, TrainRequest
from tuner.execution.trainer_process import TrainerProcess

PARAMS = {
    "imgsz": 64,
    "batch": 8,
    "nbs": 8,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 0.0,
    "close_mosaic": 0,
    "mosaic": 0.0,
}


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Use one thread: such small maps gain nothing from a second one, which is slow to wait for on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data_yaml(tmp_path_factory) -> Path:
    """Make a data set of sixteen images to train on and four to validate on."""
    folder = tmp_path_factory.mktemp("data")
    return sample.compose(folder / "tiny", train_images=16, val_images=4, image_size=64)


@pytest.fixture(scope="session")
def trainer():
    """Yield the real fork server, which is warm after the first request."""
    process = TrainerProcess([sys.executable, "-m", "trainer", "serve"])
    yield process
    process.close()


@pytest.fixture(scope="session")
def prepared(trainer, data_yaml, tmp_path_factory) -> PreparedRecord:
    """Return the trainer's record of preparing the data set and the nano model."""
    directory = tmp_path_factory.mktemp("study")
    trainer.send(PrepareRequest(data=str(data_yaml), model="mamba-yolo-n", directory=str(directory)))
    records = hear_all(trainer)
    found = [record for record in records if isinstance(record, PreparedRecord)]
    assert found, records
    return found[0]


@pytest.fixture(scope="session")
def make_request(prepared):
    """Return a function that makes requests that train in seconds, in a given directory."""

    def make(directory, *, epochs=2, validation_epochs=(2,), full=False, seed=0, **params):
        return TrainRequest(
            study="s",
            trial=0,
            params={**PARAMS, **params},
            model=prepared.model,
            data=prepared.data,
            epochs=epochs,
            stop_epoch=epochs,
            validation_epochs=validation_epochs,
            seed=seed,
            devices=(),
            threads=2,
            directory=str(directory),
            full=full,
        )

    return make


@pytest.fixture
def train_request(make_request, tmp_path):
    """Return the same function for the folder `run` of the test."""
    return partial(make_request, tmp_path / "run")
