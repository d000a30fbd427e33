"""Data sets with a number of channels other than 3 train with a model for as many."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import hear_all
from trainer.ultralytics_bridge import environment
from tuner.contract import Outcome, PreparedRecord, PrepareRequest

environment.configure()

from trainer.ultralytics_bridge import checkpoints  # noqa: E402 - only after the environment is set


def with_channels(data_yaml: Path, folder: Path, channels: int) -> Path:
    """Copy the data set, with a fourth band in its images if four channels are requested."""
    shutil.copytree(data_yaml.parent, folder)
    for image in sorted(folder.glob("images/*/*")) if channels == 4 else ():
        pixels = np.asarray(Image.open(image).convert("RGB"))
        band = pixels.mean(axis=2, keepdims=True).astype(np.uint8)
        Image.fromarray(np.concatenate([pixels, band], axis=2), "RGBA").save(image.with_suffix(".png"))
        image.unlink()
    data = folder / data_yaml.name
    data.write_text(f"{data.read_text()}channels: {channels}\n")
    return data


@pytest.mark.parametrize("channels", [1, 4])
def test_the_model_takes_the_channels_that_the_data_set_has(trainer, train_request, data_yaml, tmp_path, channels):
    data = with_channels(data_yaml, tmp_path / "data", channels)
    (tmp_path / "study").mkdir()
    trainer.send(PrepareRequest(data=str(data), model="mamba-yolo-n", directory=str(tmp_path / "study")))
    prepared = next(record for record in hear_all(trainer) if isinstance(record, PreparedRecord))
    trainer.send(replace(train_request(epochs=1, validation_epochs=(1,)), data=prepared.data))
    records = hear_all(trainer)
    assert records[-1].outcome == Outcome.COMPLETED, records[-1]
    model = checkpoints.load(records[-2].checkpoint)[0]
    first = next(value for value in model.state_dict().values() if value.ndim == 4)
    assert first.shape[1] == channels
