"""COCO JSON is converted to a folder of links and label files that training reads. Nothing else changes."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.coco_json import (
    CATEGORIES,
    ROW,
    annotation,
    coco,
    coco_of,
    labels,
    put_image,
    put_json,
    put_roboflow,
)
from tests.support.data_layouts import snapshot
from trainer.data.checking.check import check
from trainer.data.checking.cleaning import write_cleaned
from trainer.data.dataset import fingerprint, label_path, resolve
from trainer.data.dataset_writer import write_resolved
from trainer.data.opening import opened
from trainer.exceptions import DataError


@pytest.fixture
def root(tmp_path):
    return put_roboflow(tmp_path / "data")


@pytest.fixture
def study(tmp_path):
    (tmp_path / "study").mkdir()
    return tmp_path / "study"


def convert(data: Path, study: Path):
    return opened(str(data), study / "coco")


def edit(file: Path, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_images_are_links_with_labels_and_the_users_files_stay(root, study):
    before = snapshot(root)
    dataset = convert(root, study)
    assert dataset.names == ("cat", "dog")
    assert labels(dataset) == {"train/a.jpg": ROW, "train/b.jpg": ROW, "val/c.jpg": ROW}
    assert {image.path.readlink() for of in dataset.splits.values() for image in of.images} == {
        root / "train/a.jpg", root / "train/b.jpg", root / "valid/c.jpg",
    }  # fmt: skip
    assert dataset.source == root / "train/_annotations.coco.json"
    assert dataset.notes == ()
    assert snapshot(root) == before
    assert {path.name for path in study.iterdir()} == {"coco", "coco.lock"}


def test_coco_json_of_the_sample_gives_the_labels_of_the_sample(tmp_path, study):
    sample = opened("sample:24")
    for split, folder in (("train", "train2017"), ("val", "val2017")):
        content = coco_of(sample.splits[split].images, sample.names, tmp_path / folder)
        put_json(tmp_path / f"annotations/instances_{folder}.json", content)
    dataset = convert(tmp_path / "annotations/instances_train2017.json", study)
    assert dataset.names == sample.names
    expected = labels(sample)
    found = labels(dataset)
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        numbers, same = ([[*map(float, row.split())] for row in of.splitlines()] for of in (found[name], rows))
        assert [row[0] for row in numbers] == [row[0] for row in same]
        assert numbers == [pytest.approx(row, abs=1e-6) for row in same]


def test_an_image_without_annotations_is_background(root, study):
    edit(root / "train/_annotations.coco.json", lambda content: content["annotations"].pop())
    assert labels(convert(root, study))["train/b.jpg"] == ""


def test_every_difference_from_the_file_is_reported(root, study):
    def spoil(content):
        content["categories"] = [{"id": 0, "name": "pets", "supercategory": "none"}] + [
            {**category, "supercategory": " pets\n"} for category in CATEGORIES
        ]
        content["annotations"] += [
            annotation(1, (90, 90, 30, 30)),
            annotation(1, (5, 5, 0, 0)),
            annotation(1, iscrowd=1),
            annotation(77),
        ]

    edit(root / "train/_annotations.coco.json", spoil)
    file = root / "train/_annotations.coco.json"
    assert convert(root, study).notes == (
        "'pets' is not a class: it has no boxes and only groups other categories.",
        f"{file}: left out: 1 annotation of crowds (iscrowd).",
        f"{file}: left out: 1 annotation of images that the file does not list.",
        f"{file}: clipped: 1 box beyond the border of the image.",
        f"{file}: left out: 1 box without width or height inside the image.",
    )
    assert convert(root, study).notes[0].startswith("'pets'"), "the same from a conversion that is reused"


# One file


def test_a_fifth_of_a_single_file_is_val_and_only_names_decide(tmp_path, study):
    names = [f"{number}.jpg" for number in range(40)]
    for name in names:
        put_image(tmp_path / name, (50, 50))
    file = put_json(tmp_path / "all.json", coco(names, size=(50, 50)))
    first = convert(file, study)
    assert "there is no file for val, so 8 of its images are val and 32 train" in first.notes[-1]
    put_json(file, coco(reversed(names), size=(50, 50)))
    assert convert(file, study).splits == first.splits


def test_augmented_copies_by_roboflow_stay_in_one_split(tmp_path, study):
    names = [f"{origin}_jpg.rf.{copy}a{origin}.jpg" for origin in range(10) for copy in range(3)]
    for name in names:
        put_image(tmp_path / name, (50, 50))
    splits = convert(put_json(tmp_path / "all.json", coco(names, size=(50, 50))), study).splits
    train, val = ({image.name.split("_")[0] for image in splits[split].images} for split in ("train", "val"))
    assert not train & val
    assert train | val == {str(origin) for origin in range(10)}


@pytest.mark.parametrize("number", [2, 3])
def test_very_few_images_still_make_both_splits(tmp_path, study, number):
    names = [f"{n}.jpg" for n in range(number)]
    for name in names:
        put_image(tmp_path / name)
    splits = convert(put_json(tmp_path / "all.json", coco(names)), study).splits
    assert min(of.num_images for of in splits.values()) > 0
    assert sum(of.num_images for of in splits.values()) == number


def test_one_image_is_refused(tmp_path, study):
    put_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="must have images for train and val, but got 1 without copies"):
        convert(put_json(tmp_path / "all.json", coco(["a.jpg"])), study)


# Refusals


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train: train.json\nval: val.json\nnames: [dog, cat]", "names must be the categories of the JSON files in the "
         "order of their ids, ['cat', 'dog'], but got ['dog', 'cat']; correct names, or delete the line"),
    ],
)  # fmt: skip
def test_names_that_contradict_the_categories_are_refused(tmp_path, study, text, told):
    for split in ("train", "val"):
        put_json(tmp_path / f"{split}.json", coco([f"{split}.jpg"]))
        put_image(tmp_path / f"{split}.jpg")
    with pytest.raises(DataError) as refused:
        convert(put_json(tmp_path / "data.yaml", text), study)
    assert told in str(refused.value)


def test_train_without_a_box_is_refused(root, study):
    edit(root / "train/_annotations.coco.json", lambda content: content["annotations"].clear())
    with pytest.raises(DataError, match="At least one image of train must have a box, but none of 2 has one"):
        convert(root, study)


def test_a_file_system_without_links_is_refused_and_nothing_is_left(root, study, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(self))

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(DataError, match="must be writable, with symbolic links, but got 'Operation not permitted'"):
        convert(root, study)
    assert not (study / "coco").exists()


# Repeated conversions


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_ino for path in folder.rglob("*")}


def test_an_unchanged_conversion_is_reused_and_a_change_converts_again(root, study):
    first = fingerprint(convert(root, study))
    before = stamps(study / "coco")
    assert fingerprint(convert(root, study)) == first
    assert stamps(study / "coco") == before
    edit(root / "valid/_annotations.coco.json", lambda content: content.update(info={"year": 2026}))
    assert fingerprint(convert(root, study)) == first, "other words, the same data"
    edit(root / "valid/_annotations.coco.json", lambda content: content["annotations"][0].update(category_id=2))
    assert fingerprint(convert(root, study)) != first


def test_caches_of_plain_ultralytics_change_nothing_and_drafts_of_a_killed_conversion_are_removed(root, study):
    convert(root, study)
    (study / "coco/labels/train.cache").touch()
    before = stamps(study / "coco")
    (study / "coco.tmp/images").mkdir(parents=True)
    convert(root, study)
    assert stamps(study / "coco") == before
    assert not (study / "coco.tmp").exists()


@pytest.mark.parametrize("damage", ["labels", "image", "manifest"])
def test_a_damaged_conversion_is_made_again(root, study, damage):
    dataset = convert(root, study)
    whole = labels(dataset)
    image = dataset.splits["train"].images[0].path
    if damage == "labels":  # as after a loss of power
        label_path(image).write_bytes(b"")
    elif damage == "image":
        image.unlink()
    else:
        (study / "coco/conversion.json").write_text("{")
    assert labels(convert(root, study)) == whole


def test_a_missing_image_is_found_once_it_exists(tmp_path, study):
    names = [f"{number}.jpg" for number in range(101)]
    for name in names[1:]:
        put_image(tmp_path / "train" / name, (50, 50))
    put_image(tmp_path / "val/v.jpg", (50, 50))
    file = put_json(tmp_path / "train.json", coco(names, size=(50, 50)))
    put_json(tmp_path / "val.json", coco(["v.jpg"], size=(50, 50)))
    first = convert(file, study)
    assert first.splits["train"].num_images == 100
    assert "1 image is not found in" in first.notes[0]
    put_image(tmp_path / "train/0.jpg", (50, 50))
    assert convert(file, study).splits["train"].num_images == 101


def test_a_data_set_that_was_moved_is_the_same_data_set(root, study):
    first = fingerprint(convert(root, study))
    moved = root.rename(root.with_name("moved"))
    second = convert(moved / "train/_annotations.coco.json", study)
    assert fingerprint(second) == first
    assert second.splits["val"].images[0].path.readlink() == moved / "valid/c.jpg"


def test_a_study_that_was_moved_has_a_yaml_that_still_names_its_images(root, study):
    write_resolved(convert(root, study), study / "data.yaml")
    moved = study.rename(study.with_name("moved"))
    again = resolve(moved / "data.yaml")
    assert labels(again) == {"train/coco/images/train/a.jpg": ROW, "train/coco/images/train/b.jpg": ROW,
                             "val/coco/images/val/c.jpg": ROW}  # fmt: skip


def test_a_cleaned_copy_links_to_the_users_images_and_outlives_the_conversion(root, study, tmp_path):
    dataset = convert(root, study)
    write_cleaned(dataset, check(dataset), tmp_path / "cleaned")
    shutil.rmtree(study / "coco")
    cleaned = resolve(tmp_path / "cleaned/data.yaml")
    assert cleaned.splits["val"].images[0].path.read_bytes() == (root / "valid/c.jpg").read_bytes()


def test_a_check_converts_into_the_users_cache_and_says_where(root):
    first = opened(str(root))
    assert first.root.is_relative_to(Path(os.environ["XDG_CACHE_HOME"]))
    assert first.notes == (f"converted from COCO JSON; the label files are in {first.root}/labels.",)
    assert opened(str(root)) == first
