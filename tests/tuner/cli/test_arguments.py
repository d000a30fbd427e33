"""Arguments that several verbs share."""

import pytest

from tuner.cli.arguments import data_name, data_source
from tuner.exceptions import DataError


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("sample:40", "sample-40"),
        ("/d/cars/data.yaml", "cars-data"),
        ("/d/cars", "d-cars"),
        ("/d/cars/all.json", "cars-all"),
        ("/d/cars/train/_annotations.coco.json", "cars-annotations.coco"),
        ("/d/coco/annotations/instances_train2017.json", "coco-instances_train2017"),
    ],
)
def test_a_data_set_is_named_by_its_own_folder(source, name):
    assert data_name(source) == name


def test_a_data_set_is_an_existing_file_or_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.json").touch()
    assert data_source("data.json") == str(tmp_path / "data.json")
    assert data_source(".") == str(tmp_path)
    with pytest.raises(DataError, match=r"YAML file, COCO JSON file or folder with COCO JSON, but '.*none.json' does"):
        data_source("none.json")
