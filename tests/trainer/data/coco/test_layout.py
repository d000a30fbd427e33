"""The JSON files and image folders of a data set, as tools lay them out."""

import unicodedata

import pytest

from tests.support.coco_json import coco, put_image, put_json, put_roboflow
from trainer.data.coco.layout import ImageFolder, image_folder, split_of, splits_in, splits_with
from trainer.data.coco.reading import read_coco
from trainer.exceptions import DataError


def found(splits, root):
    return {split: str(of.json.relative_to(root)) for split, of in splits.items()}


LAYOUTS = {
    "Roboflow": ("train/_annotations.coco.json", "valid/_annotations.coco.json", "test/_annotations.coco.json"),
    "COCO": ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
    "CVAT": ("annotations/instances_train.json", "annotations/instances_validation.json"),
    "FiftyOne": ("train/labels.json", "val/labels.json"),
    "names": ("my-train.json", "my-val.json", "my-test.json"),
    "capitals": ("Annotations_Train.json", "Annotations_Val.json"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_files_of_all_splits_are_found_from_the_folder_and_from_each_file(tmp_path, layout):
    files = [put_json(tmp_path / name, coco(["a.jpg"])) for name in LAYOUTS[layout]]
    expected = dict(zip(("train", "val", "test"), LAYOUTS[layout], strict=False))
    assert found(splits_in(tmp_path), tmp_path) == expected
    if layout != "capitals":  # replacing `train` by `val` does not keep capitals
        for file in files:
            assert found(splits_with(file), tmp_path) == expected


@pytest.mark.parametrize("name", ["result.json", "annotations/instances_default.json", "labels.json"])
def test_one_file_is_the_whole_data_set(tmp_path, name):
    file = put_json(tmp_path / name, coco(["a.jpg"]))
    assert found(splits_in(tmp_path), tmp_path) == {"train": name}
    assert found(splits_with(file), tmp_path) == {"train": name}


def test_captions_and_keypoints_of_coco_are_skipped(tmp_path):
    for kind in ("captions", "instances", "person_keypoints"):
        put_json(tmp_path / f"annotations/{kind}_train2017.json", {})
    assert found(splits_in(tmp_path), tmp_path) == {"train": "annotations/instances_train2017.json"}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([], "as train/_annotations.coco.json or annotations/instances_train.json, but got a folder without"),
        (["data.yaml"], "data.yaml."),
        (["data.yaml", "annotations.json"], "data.yaml."),
        (["a_train.json", "b_train.json"], "one JSON file for train, but got ['a_train.json', 'b_train.json']"),
        (["a.json", "b.json"], "one JSON file for train"),
    ],
)
def test_a_folder_without_one_file_for_train_is_refused(tmp_path, files, told):
    for name in files:
        put_json(tmp_path / name, {})
    with pytest.raises(DataError) as refused:
        splits_in(tmp_path)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_train2017", "train"),
        ("valid", "val"),
        ("coco-val", "val"),
        ("training_set", "train"),
        ("constraints", None),
        ("trainval", None),
        ("train_without_test", None),
        ("interval", None),
    ],
)
def test_a_name_gives_its_split_by_a_whole_word(name, split):
    assert split_of(name) == split


IMAGES = {
    "Roboflow": ("train/_annotations.coco.json", "a.jpg", "train/a.jpg"),
    "COCO": ("annotations/instances_train2017.json", "a.jpg", "train2017/a.jpg"),
    "COCO in images": ("annotations/instances_train2017.json", "a.jpg", "images/train2017/a.jpg"),
    "CVAT": ("annotations/instances_default.json", "a.jpg", "images/default/a.jpg"),
    "CVAT, older": ("annotations/instances_default.json", "a.jpg", "images/a.jpg"),
    "FiftyOne": ("labels.json", "a.jpg", "data/a.jpg"),
    "Label Studio": ("result.json", "images/a.jpg", "images/a.jpg"),
    "Windows": ("result.json", "images\\a.jpg", "images/a.jpg"),
    "other machine": ("result.json", "/home/other/data/a.jpg", "images/a.jpg"),
    "other Windows machine": ("result.json", "C:\\data\\a.jpg", "images/a.jpg"),
    "URL": ("result.json", "https://example.org/data/a.jpg", "images/a.jpg"),
    "nested": ("annotations/train.json", "below/a.jpg", "images/train/below/a.jpg"),
    "unicode and spaces": ("train.json", "Straße 日本 1.jpg", "train/Straße 日本 1.jpg"),
}


@pytest.mark.parametrize("layout", IMAGES)
def test_the_folder_of_the_images_is_found(tmp_path, layout):
    json, name, image = IMAGES[layout]
    path = put_image(tmp_path / image)
    coco_file = read_coco(put_json(tmp_path / json, coco([name])))
    assert image_folder(coco_file, None).find(name) == path


def test_a_missing_image_is_not_taken_from_another_split(tmp_path):
    file = put_json(tmp_path / "annotations/instances_val.json", coco(["a.jpg", "b.jpg"]))
    put_image(tmp_path / "images/val/a.jpg")
    put_image(tmp_path / "images/train/b.jpg")
    folder = image_folder(read_coco(file), None)
    assert (folder.path, folder.find("b.jpg")) == (tmp_path / "images/val", None)


def test_accents_are_found_in_either_composition(tmp_path):
    path = put_image(tmp_path / unicodedata.normalize("NFD", "é.jpg"))
    assert ImageFolder(path=tmp_path, flat=False).find(unicodedata.normalize("NFC", "é.jpg")) == path


def test_without_any_image_the_remedy_is_a_yaml_and_roboflows_folders_are_named(tmp_path):
    root = put_roboflow(tmp_path)
    for image in root.rglob("*.jpg"):
        image.unlink()
    with pytest.raises(DataError) as refused:
        image_folder(read_coco(root / "train/_annotations.coco.json"), None)
    assert "'a.jpg' and all others were not found" in str(refused.value)
    assert str(root / "train") in str(refused.value)
    assert "'train: {annotations: FILE.json, images: FOLDER}'" in str(refused.value)
