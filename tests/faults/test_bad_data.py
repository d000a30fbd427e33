"""Unusable data sets: `tune run` reports them in one line, with exit code 4, before anything trains."""

import os
import shutil
import sys

import pytest

from tests.conftest import hear_all
from trainer.commands import prepare
from trainer.data.sample import sample
from tuner.cli.main import main
from tuner.contract import Outcome, PreparedRecord, PrepareRequest
from tuner.execution.trainer_process import TrainerProcess


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Make a data set of a hundred images to train on and eight to validate on."""
    return sample.compose(tmp_path_factory.mktemp("good") / "data", train_images=100, val_images=8, image_size=64)


@pytest.fixture
def data(good, tmp_path):
    """Copy the data set for damage, and return the path of its YAML."""
    shutil.copytree(good.parent, tmp_path / "data")
    return tmp_path / "data" / good.name


def images(data, split):
    return sorted((data.parent / "images" / split).iterdir())


def labels(data, split):
    return sorted((data.parent / "labels" / split).glob("*.txt"))


def cut_off(image):
    os.truncate(image, image.stat().st_size // 2)


def no_yaml(data):
    data.unlink()


def no_images(data):
    for image in images(data, "train"):
        image.unlink()


def empty_val(data):
    for image in images(data, "val"):
        image.unlink()


def no_labels(data):
    shutil.rmtree(data.parent / "labels")


def val_is_train(data):
    data.write_text(data.read_text().replace("images/val", "images/train"))


def val_links_to_train(data):
    for old, new in zip(images(data, "val"), images(data, "train"), strict=False):
        old.unlink()
        old.symlink_to(new)


def classes_out_of_range(data):
    for label in labels(data, "train")[:2]:
        label.write_text("99 0.5 0.5 0.2 0.2\n")


def coordinates_above_one(data):
    for label in labels(data, "train")[:2]:
        label.write_text("0 32 32 10 10\n")


def cut_off_images(data):
    for image in images(data, "train")[:2]:
        cut_off(image)


def one_cut_off_image_of_few(data):
    cut_off(images(data, "val")[0])


def all_empty_files(data):
    for image in images(data, "train"):
        image.write_bytes(b"")


TOLD_BY_A_RUN = [
    (no_yaml, ["--data must be a data set as YAML file"]),
    (no_images, ["train must have at least one image"]),
    (empty_val, ["val must have at least one image"]),
    (no_labels, ["At least one image of train must have a label file"]),
    (val_is_train, ["100 of 100 images of val are also in train"]),
    (val_links_to_train, ["8 of 8 images of val are also in train"]),
    (
        classes_out_of_range,
        ["At most 1% of a split may be unusable", "2 of 100 images of train", "txt:1 (99): rows with a class"],
    ),
]
TOLD_BY_THE_SCAN = [
    (coordinates_above_one, ["2 of 100 images of train", "txt:1 (32): rows with coordinates in pixels"]),
    (cut_off_images, ["2 of 100 images of train", "truncated images"]),
    (one_cut_off_image_of_few, ["1 of 8 images of val", "truncated images"]),
    (all_empty_files, ["100 of 100 images of train", "images that cannot be read"]),
]


def named(value):
    return getattr(value, "__name__", "")


@pytest.mark.parametrize(("spoil", "said"), TOLD_BY_A_RUN, ids=named)
def test_an_unusable_data_set_is_reported_before_anything_trains(data, tmp_path, monkeypatch, capfd, spoil, said):
    spoil(data)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["run", "--space=quick", f"--data={data}", "--study=s", "--plain"])
    told = capfd.readouterr().err
    assert left.value.code == 4, told
    assert len(told.splitlines()) == 1
    assert all(part in told for part in said), told
    assert not (tmp_path / "studies/s/trials").exists()


@pytest.mark.parametrize(("spoil", "said"), TOLD_BY_THE_SCAN, ids=named)
def test_flaws_that_only_the_scan_finds_are_refused_in_one_line(data, tmp_path, spoil, said):
    """Call the same check in this process: starting one takes seconds."""
    spoil(data)
    end = prepare.run(PrepareRequest(data=str(data), model="mamba-yolo-n", directory=str(tmp_path)), [].append)
    assert end.outcome == Outcome.BAD_DATA
    assert len(end.message.splitlines()) == 1
    assert all(part in end.message for part in said), end.message


def prepared(data, folder):
    """Prepare a data set with the real trainer, and return its record."""
    trainer = TrainerProcess([sys.executable, "-m", "trainer", "serve"])
    try:
        trainer.send(PrepareRequest(data=str(data), model="mamba-yolo-n", directory=str(folder)))
        records = hear_all(trainer)
    finally:
        trainer.close()
    assert records[-1].outcome == Outcome.COMPLETED, records
    return next(record for record in records if isinstance(record, PreparedRecord))


def test_harmless_flaws_are_notes_and_no_file_of_the_user_is_touched(data, tmp_path):
    """One image in a hundred is truncated, another lacks only its end mark, and one is in both splits."""
    cut_off(images(data, "train")[0])
    unmarked = images(data, "train")[1]
    unmarked.write_bytes(unmarked.read_bytes() + b"\0\0")
    labels(data, "val")[0].unlink()  # a background, as is usual
    before = {path: path.read_bytes() for path in data.parent.rglob("*") if path.is_file()}
    record = prepared(data, tmp_path)
    left_out, others = record.notes
    assert left_out.startswith("1 of 100 images of train cannot be used, the first: ")
    assert left_out.endswith("training skips them")
    assert others == (
        "the data have JPEGs with extra bytes after their end, images without a label file, trained on as "
        "background, too few validation images to distinguish good configurations; `tune data check` shows where"
    )
    assert record.num_images == {"train": 99, "val": 8}
    assert {path: path.read_bytes() for path in data.parent.rglob("*") if path.is_file()} == before
