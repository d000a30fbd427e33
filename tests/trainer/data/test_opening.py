"""A data set in any form that a user may name."""

import pytest

from tests.support.coco_json import labels, put_roboflow
from tests.support.data_layouts import counts, make, put
from trainer.data.opening import opened
from trainer.exceptions import DataError


def test_a_yaml_is_read_where_it_is_and_nothing_is_converted(tmp_path):
    yaml = make(tmp_path / "data")
    dataset = opened(str(yaml), tmp_path / "coco")
    assert counts(dataset) == {"train": (3, 3), "val": (2, 2)}
    assert not dataset.converted
    assert not (tmp_path / "coco").exists()


@pytest.mark.parametrize("given", [".", "train", "train/_annotations.coco.json", "valid/_annotations.coco.json"])
def test_coco_json_is_opened_by_its_folder_and_by_each_file(tmp_path, monkeypatch, given):
    root = put_roboflow(tmp_path / "data")
    expected = labels(opened(str(root), tmp_path / "coco"))
    monkeypatch.chdir(root)
    if given == "train":  # only the images below this folder
        assert sum(of.num_images for of in opened(given, tmp_path / "coco").splits.values()) == 2
    else:
        assert labels(opened(given, tmp_path / "coco")) == expected


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.json", None, "but it does not exist; check the path"),
        ("none.yaml", None, "but it does not exist; check the path"),
        ("data.zip", b"PK\x03\x04abc", "but got an archive; unpack it, and give the file or folder in it"),
        ("data.tar.gz", b"\x1f\x8babc", "but got an archive"),
        ("a.jpg", b"\xff\xd8", "must be UTF-8 text, but got byte 0xff; check the path"),
    ],
)
def test_what_is_not_a_data_set_is_refused(tmp_path, name, content, told):
    if content is not None:
        put(tmp_path / name, content)
    with pytest.raises(DataError) as refused:
        opened(str(tmp_path / name))
    assert told in str(refused.value)
