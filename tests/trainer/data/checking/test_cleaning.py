"""A cleaned data set has no flaws, and the user's own data set is unchanged."""

from pathlib import Path

import pytest

from tests.support import dirty_data as planted
from tests.trainer.data.checking.test_check import snapshot
from trainer.data.checking.check import check
from trainer.data.checking.cleaning import write_cleaned
from trainer.data.dataset import resolve
from trainer.exceptions import DataError

STAYS = {
    "bad-orientation",
    "class-not-in-train",
    "class-not-in-val",
    "class-without-boxes",
    "empty-labels",
    "grey-image",
    "missing-labels",
    "near-duplicate-box",
    "near-duplicate-image",
    "near-leaked-image",
    "noisy-validation",
    "outline-labels",
    "rotated-image",
}
"""Findings that only the user can judge or repair."""


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """Make the data set once: no test here may change it."""
    return planted.make(tmp_path_factory.mktemp("dirty") / "data")


@pytest.fixture(scope="module")
def cleaned(dirty):
    """Write the cleaned data set, check that the original is unchanged, and return what was written."""
    before = snapshot(dirty.root)
    dataset = resolve(dirty.root / "dataset.yaml")
    done = write_cleaned(dataset, check(dataset), dirty.root.parent / "clean")
    assert snapshot(dirty.root) == before, "no byte of the user's data changes"
    return done


def test_a_cleaned_data_set_has_only_what_the_user_must_judge(cleaned):
    report = check(resolve(Path(cleaned.data)))
    assert {finding.kind for finding in report.findings} == STAYS
    assert {finding.split for finding in report.findings if "leaked" in finding.kind} == {"test"}
    assert not report.left_out
    assert not report.refusal


def test_validation_images_stay_and_those_leaked_into_training_are_removed_there(cleaned):
    root = Path(cleaned.data).parent
    for name in ("copy.jpg", "half.jpg", "mirrored.jpg", "brighter.png"):
        assert (root / "images/val" / name).exists(), name
    for name in ("a-copied.jpg", "b-copy.jpg", "a-source.jpg", "z-worse.jpg"):
        assert not (root / "images/train" / name).exists(), name


def test_images_are_links_except_those_with_bytes_after_their_end(dirty, cleaned):
    images = Path(cleaned.data).parent / "images/train"
    assert (images / "good00.jpg").readlink() == dirty.root / "images/train/good00.jpg"
    rewritten, original = images / "trailing.jpg", dirty.root / "images/train/trailing.jpg"
    assert not rewritten.is_symlink()
    assert rewritten.read_bytes() == original.read_bytes()[:-20]
    assert cleaned.num_rewritten == 2


def test_flawed_rows_are_deleted_or_cut_and_all_others_are_as_they_were(dirty, cleaned):
    labels = Path(cleaned.data).parent / "labels/train"
    assert (labels / "flat.txt").read_text() == "0 0.5 0.5 0.25 0.25\n"
    assert (labels / "beyond.txt").read_text() == "0 0.5 0.5 0.25 0.25\n1 0.875 0.5 0.25 0.2\n"
    assert (labels / "twice.txt").read_text() == "0 0.5 0.5 0.25 0.25\n1 0.2 0.2 0.1 0.1\n"
    for name in ("crlf.txt", "outline.txt", "rounded.txt", "nearly.txt"):
        assert (labels / name).read_bytes() == (dirty.root / "labels/train" / name).read_bytes(), name
    assert not (labels / "unlabelled.txt").exists()
    assert cleaned.num_rows == 3


def test_the_counts_are_those_of_the_files(dirty, cleaned):
    dataset = resolve(dirty.root / "dataset.yaml")
    written = sum(path.suffix != ".txt" for path in (Path(cleaned.data).parent / "images").rglob("*.*"))
    assert cleaned.num_images == written
    assert cleaned.num_left_out == sum(split.num_images for split in dataset.splits.values()) - written


def test_images_of_one_name_from_several_folders_stay_apart(tmp_path):
    made = planted.Dirty(tmp_path / "data")
    for split in ("a/train", "b/train", "val"):
        made.put(split, "x.jpg", made.jpeg(), f"0 0.5 0.5 0.{len(split)} 0.2\n")
    (made.root / "dataset.yaml").write_text("train: [images/a/train, images/b/train]\nval: images/val\nnames: [cat]\n")
    dataset = resolve(made.root / "dataset.yaml")
    done = write_cleaned(dataset, check(dataset), tmp_path / "clean")
    images = sorted((Path(done.data).parent / "images/train").iterdir())
    assert {path.readlink() for path in images} == {made.root / f"images/{name}/train/x.jpg" for name in "ab"}
    again = check(resolve(Path(done.data)))
    assert again.splits["train"].boxes == 2
    assert again.splits["train"].unlabelled == 0


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("data/clean", "must be outside the data set, but got a folder inside"),
        ("data/images/train/clean", "must be outside the data set, but got a folder inside"),
        ("full", "must be new or empty"),
        ("file", "must be new or empty"),
        ("/proc/clean", "must be writable"),
    ],
)
def test_an_unsuitable_folder_is_refused_and_left_alone(tmp_path, where, said):
    made = planted.Dirty(tmp_path / "data")
    for split in ("train", "val"):
        made.put(split, "x.jpg", made.jpeg())
    (made.root / "dataset.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("kept")
    (tmp_path / "file").write_text("kept")
    before = snapshot(tmp_path)
    dataset = resolve(made.root / "dataset.yaml")
    with pytest.raises(DataError, match=said):
        write_cleaned(dataset, check(dataset), tmp_path / Path(where))
    assert snapshot(tmp_path) == before
