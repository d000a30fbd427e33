"""Images that became unreadable before training reads them are bad data, and are named."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import hear_all
from trainer.exceptions import DataError
from trainer.ultralytics_bridge import environment
from tuner.contract import Outcome, PreparedRecord, PrepareRequest

environment.configure()

from trainer.ultralytics_bridge import reading  # noqa: E402 - only after the environment is set


@pytest.fixture
def copy(data_yaml, tmp_path):
    """Copy the data set, for damage after the check."""
    shutil.copytree(data_yaml.parent, tmp_path / "data")
    return tmp_path / "data" / data_yaml.name


@pytest.fixture
def checked(trainer, copy, tmp_path):
    """Return the record of the check that the copy passed."""
    (tmp_path / "study").mkdir()
    trainer.send(PrepareRequest(data=str(copy), model="mamba-yolo-n", directory=str(tmp_path / "study")))
    return next(record for record in hear_all(trainer) if isinstance(record, PreparedRecord))


def cut_off(image: Path) -> None:
    os.truncate(image, image.stat().st_size // 2)


def no_image(image: Path) -> None:
    image.write_text("<html>404</html>")


def of_floats(image: Path) -> None:
    Image.fromarray(np.zeros((64, 64), np.float32)).save(image, "TIFF")


@pytest.mark.parametrize(
    ("split", "spoil"), [("train", cut_off), ("val", Path.unlink), ("train", no_image), ("val", of_floats)]
)
def test_an_image_that_changes_after_the_check_is_bad_data_by_its_name(
    trainer, train_request, copy, checked, split, spoil
):
    image = sorted((copy.parent / "images" / split).iterdir())[1]
    spoil(image)
    request = train_request(epochs=1, validation_epochs=(1,))
    trainer.send(replace(request, data=checked.data))
    end = hear_all(trainer)[-1]
    assert end.outcome == Outcome.BAD_DATA
    assert str(image) in end.message
    assert "must not change after the check" in end.message
    assert "\n" not in end.message
    assert not end.retryable


def test_images_that_are_all_gone_after_the_check_are_bad_data(trainer, train_request, copy, checked):
    shutil.rmtree(copy.parent / "images/train")
    trainer.send(replace(train_request(epochs=1), data=checked.data))
    end = hear_all(trainer)[-1]
    assert end.outcome == Outcome.BAD_DATA
    assert "none of 16 is: " in end.message
    assert str(copy.parent / "images/train") in end.message


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("none.jpg", lambda path: None, "no pixels"),
        ("empty.png", lambda path: path.write_bytes(b""), "no pixels"),
        ("text.bmp", lambda path: path.write_text("text"), "no pixels"),
        ("float.tif", lambda path: Image.fromarray(np.zeros((9, 9), np.float32)).save(path), "no pixels"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_reported_with_its_reason(tmp_path, name, write, reason):
    write(tmp_path / name)
    with pytest.raises(DataError, match=reason) as told:
        reading.read(str(tmp_path / name))
    assert str(tmp_path / name) in str(told.value)


def test_an_error_of_opencv_is_reported_as_one_of_the_image(tmp_path):
    image = tmp_path / "huge.png"
    Image.new("RGB", (16, 16)).save(image)
    content = bytearray(image.read_bytes())
    content[16:24] = (40_000).to_bytes(4) * 2
    image.write_bytes(content)
    with pytest.raises(DataError, match="huge"):
        reading.read(str(image))


def test_a_good_image_is_what_ultralytics_reads(tmp_path):
    from ultralytics.utils.patches import imread

    image = tmp_path / "good.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(image)
    assert np.array_equal(reading.read(str(image)), imread(str(image)))
