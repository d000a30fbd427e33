"""A YAML that names COCO JSON files."""

import pytest

from tests.support.coco_json import coco, put_image, put_json
from tests.support.data_layouts import make
from trainer.data.coco.coco_yaml import read_coco_yaml
from trainer.data.coco.layout import Annotated
from trainer.exceptions import DataError


@pytest.fixture
def root(tmp_path):
    for name in ("a", "b"):
        put_json(tmp_path / f"labels/{name}.json", coco(["1.jpg"]))
        put_image(tmp_path / f"of-{name}/1.jpg")
    return tmp_path


def read(root, text):
    return read_coco_yaml(put_json(root / "data.yaml", text))


def test_files_and_folders_are_named_for_each_split(root):
    found = read(
        root,
        "train: {annotations: labels/a.json, images: of-a}\nvalid: labels/b.json\nchannels: 1\nnames: [cat, dog]\n",
    )
    assert found.source == root / "data.yaml"
    assert found.splits == {
        "train": Annotated(json=root / "labels/a.json", images=root / "of-a"),
        "val": Annotated(json=root / "labels/b.json"),
    }
    assert (found.names, found.channels) == (("cat", "dog"), 1)


def test_paths_start_at_path(root):
    (root / "below").mkdir()
    found = read_coco_yaml(put_json(root / "below/data.yaml", "path: ..\ntrain: labels\\a.json\n"))
    assert found.splits == {"train": Annotated(json=root / "labels/a.json")}


def test_another_yaml_is_not_read_as_coco_json(tmp_path):
    assert read_coco_yaml(make(tmp_path)) is None
    for text in ("- 1", "train: {path: images}", "train: [a, b]"):
        assert read_coco_yaml(put_json(tmp_path / "x.yaml", text)) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train: none.json", "data.yaml:1: annotations of train must be a JSON file, but "),
        ("train: {annotations: labels/a.json, images: none}", "images of train must be a folder, but "),
        (
            "train: [labels/a.json, labels/b.json]",
            "train must be one, or annotations and images, but got ['labels/a.json'",
        ),
        ("train: {json: labels/a.json}", "but got {'json': 'labels/a.json'}; write it as 'train: {annotations:"),
        ("train: {annotations: 3}", "train must be one, or annotations and images"),
        ("val: labels/a.json", "train is missing; add a line 'train: train.json'"),
        ("train: labels/a.json\nval: images/val", "data.yaml:2: If a split is a JSON file, val must be one"),
        ("train: labels/a.json\nchannels: many", "data.yaml:2: channels must be"),
        ("path: none\ntrain: labels/a.json", "path must be a folder"),
    ],
)
def test_a_wrong_value_is_refused_with_its_line(root, text, told):
    with pytest.raises(DataError) as refused:
        read(root, text)
    assert told in str(refused.value)
