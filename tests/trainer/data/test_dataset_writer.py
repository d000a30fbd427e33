"""The YAML and lists that a data set is written as, and the places where they are never written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.data_layouts import HEAD, counts, make, put_pair, snapshot
from trainer.data.dataset import label_path, resolve
from trainer.data.dataset_writer import write_part, write_resolved
from trainer.exceptions import DataError


def test_the_resolved_yaml_names_the_same_images_by_absolute_paths_and_can_be_moved(tmp_path: Path) -> None:
    yaml = make(tmp_path / "data", HEAD.replace("/", "\\") + "names: [no, 'a: \"b\"', кот]\n")
    (tmp_path / "out").mkdir()
    target = write_resolved(resolve(yaml), tmp_path / "out/study.yaml")
    content = YAML(typ="safe").load(target)
    assert content["names"] == {0: "no", 1: 'a: "b"', 2: "кот"}
    assert content["nc"] == 3
    assert content.keys() == {"train", "val", "nc", "names"}, "no folder is named"
    assert (tmp_path / "out" / content["train"]).read_text().splitlines() == [
        f"{tmp_path}/data/images/train/{name}.jpg" for name in "abc"
    ]
    (tmp_path / "out").rename(tmp_path / "moved")
    again = resolve(tmp_path / "moved/study.yaml")
    assert counts(again) == {"train": (3, 3), "val": (2, 2)}


def test_writing_twice_gives_the_same_and_leaves_no_drafts(tmp_path: Path) -> None:
    dataset = resolve(make(tmp_path / "data"))
    (tmp_path / "out").mkdir()
    write_resolved(dataset, tmp_path / "out/data.yaml")
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    write_resolved(dataset, tmp_path / "out/data.yaml")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first
    assert first.keys() == {"data.yaml", "data.train.txt", "data.val.txt"}


def test_a_part_has_the_images_of_each_split_with_the_most_boxes(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    whole = write_resolved(resolve(make(tmp_path / "data")), tmp_path / "out/data.yaml")
    first, second, third = resolve(whole).splits["train"].images
    label_path(first.path).unlink()
    label_path(third.path).write_text("0 0.5 0.5 0.1 0.1\n" * 40)
    (tmp_path / "part").mkdir()
    part = resolve(write_part(whole, tmp_path / "part/data.yaml", max_images=2))
    assert counts(part) == {"train": (2, 2), "val": (2, 2)}
    assert {image.path for image in part.splits["train"].images} == {third.path, second.path}


@pytest.mark.parametrize("place", [".", "images/train", "labels/train", "images/train/deep"])
def test_nothing_is_written_next_to_the_users_data(tmp_path: Path, place: str) -> None:
    dataset = resolve(make(tmp_path))
    (tmp_path / place).mkdir(exist_ok=True)
    before = snapshot(tmp_path)
    with pytest.raises(DataError, match="Output must be outside the data set's folders"):
        write_resolved(dataset, tmp_path / place / "resolved.yaml")
    assert snapshot(tmp_path) == before


def test_a_study_folder_inside_the_project_is_allowed(tmp_path: Path) -> None:
    dataset = resolve(make(tmp_path))
    (tmp_path / "studies/first").mkdir(parents=True)
    assert write_resolved(dataset, tmp_path / "studies/first/data.yaml").is_file()


def test_names_that_no_list_can_hold_are_refused(tmp_path: Path) -> None:
    yaml = make(tmp_path / "data")
    put_pair(tmp_path / "data/images/train/two\nlines.jpg")
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="UTF-8 text on one line") as caught:
        write_resolved(resolve(yaml), tmp_path / "out/data.yaml")
    assert "\n" not in str(caught.value)


def test_ultralytics_reads_the_resolved_yaml_from_anywhere(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    make(tmp_path / "data", "path: .\ntrain: images\\train\nval: images\\val\nnames: [no, dog]\n")
    (tmp_path / "data/images/train").rename(tmp_path / "photos")
    (tmp_path / "data/images/train").symlink_to(tmp_path / "photos", target_is_directory=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    target = write_resolved(resolve(tmp_path / "data/dataset.yaml"), tmp_path / "out/data.yaml")
    script = (
        "import sys; from pathlib import Path; from ultralytics.data import utils\n"
        "utils.check_font = lambda *_: None\n"
        "data = utils.check_det_dataset(sys.argv[1])\n"
        "images = Path(data['train']).read_text().splitlines()\n"
        "print(data['names'], [Path(p).is_file() for p in utils.img2label_paths(images)])"
    )
    environment = os.environ | {"YOLO_CONFIG_DIR": str(tmp_path / "out"), "YOLO_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "{0: 'no', 1: 'dog'} [True, True, True]"
