"""Reading a data set as tools write it, hashing it, and refusing it in one useful line."""

import os
from pathlib import Path

import pytest

from tests.support.data_layouts import HEAD, ROW, counts, make, put, put_pair, snapshot
from trainer.data.dataset import fingerprint, label_path, resolve
from trainer.exceptions import DataError

# Layouts that must load


@pytest.mark.parametrize(
    "yaml",
    [
        pytest.param("train: images/train\nval: images/val\n", id="no path"),
        pytest.param("path:\ntrain: images/train\nval: images/val\n", id="empty path"),
        pytest.param("path: .\ntrain: images/train\nval: images/val\n", id="path is a dot"),
        pytest.param("path: ./\ntrain: ./images/train\nval: images/val/\n", id="dots and slashes"),
        pytest.param("path: ../data\ntrain: images/train\nval: images/val\n", id="path upwards"),
        pytest.param("path: ..\\data\ntrain: images\\train\nval: .\\images\\val\n", id="backslashes"),
        pytest.param("path: @\ntrain: images/train\nval: images/val\n", id="absolute path"),
        pytest.param("train: '@/images/train'\nval: '@/images/val'\n", id="absolute splits"),
        pytest.param("train: images/train\nvalidation: images/val\n", id="validation"),
        pytest.param("train: images/train\nvalid: images/val\n", id="valid"),
        pytest.param("train: [images/train]\nval:\n  - images/val\n", id="lists of folders"),
        pytest.param("train: images/train\nval: images/val\ntest:\n", id="empty test"),
    ],
)
def test_every_way_to_write_the_paths_finds_the_same(tmp_path: Path, yaml: str) -> None:
    root = tmp_path / "data"
    dataset = resolve(make(root, yaml.replace("@", str(root)) + "names: [cat, dog]\n"))
    assert counts(dataset) == {"train": (3, 3), "val": (2, 2)}
    assert dataset.splits["train"].sources == (root / "images/train",)
    assert dataset.root == root


def test_the_working_directory_never_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "decoy", "train: images/train\nval: images/val\nnames: [x]\n")
    yaml = make(tmp_path / "data", "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n")
    monkeypatch.chdir(tmp_path / "decoy")
    dataset = resolve(Path("../data/dataset.yaml"))
    assert dataset.source == yaml
    assert dataset.splits["train"].sources == (tmp_path / "data/images/train",)


def test_roboflow_exports_load(tmp_path: Path) -> None:
    """Its YAML is next to train but says ../train, and names a test folder that does not exist."""
    put_pair(tmp_path / "train/images/a_jpg.rf.0123.jpg")
    put_pair(tmp_path / "valid/images/b.jpg")
    yaml = put(
        tmp_path / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\nnames: ['cat']\n\n"
        "roboflow:\n  workspace: w\n  license: CC BY 4.0\n",
    )
    dataset = resolve(yaml)
    assert counts(dataset) == {"train": (1, 1), "val": (1, 1)}
    assert len(dataset.notes) == 1
    assert "the data set has no test split" in dataset.notes[0]


def test_cvat_exports_load(tmp_path: Path) -> None:
    """It writes list files whose lines count from the folder of the list."""
    put_pair(tmp_path / "images/train/a.jpg")
    put_pair(tmp_path / "images/validation/b.jpg")
    put(tmp_path / "train.txt", "images/train/a.jpg\n")
    put(tmp_path / "validation.txt", "data/images/validation/b.jpg\n")
    yaml = put(
        tmp_path / "data.yaml",
        "path: ./\ntrain: train.txt\nval: validation.txt\nnames:\n  0: cat\n  1: dog\n",
    )
    dataset = resolve(yaml)
    assert counts(dataset) == {"train": (1, 1), "val": (1, 1)}
    assert dataset.names == ("cat", "dog")


def test_labels_next_to_the_images_load_as_labelimg_writes_them(tmp_path: Path) -> None:
    put_pair(tmp_path / "train/a.jpg")
    put(tmp_path / "train/classes.txt", "cat\n")
    put_pair(tmp_path / "val/b.jpg")
    dataset = resolve(put(tmp_path / "data.yaml", "train: train\nval: val\nnames: [cat]\n"))
    assert counts(dataset) == {"train": (1, 1), "val": (1, 1)}


@pytest.mark.parametrize(
    "line",
    ["images/train/a.jpg", "./images/train/a.jpg", "images\\train\\a.jpg", ".\\images\\train\\a.jpg", "@"],
)
def test_lines_of_a_list_may_be_relative_dotted_backslashed_or_absolute(tmp_path: Path, line: str) -> None:
    image = put_pair(tmp_path / "lists/images/train/a.jpg")
    put_pair(tmp_path / "images/val/b.jpg")
    put(tmp_path / "lists/train.txt", "\ufeff" + line.replace("@", str(image)) + "\r\n\r\nnotes.md\r\n")
    yaml = put(tmp_path / "data.yaml", "train: lists/train.txt\nval: images/val\nnames: [cat]\n")
    assert resolve(yaml).splits["train"].images[0].path == image


def test_lines_of_a_list_may_count_from_the_root(tmp_path: Path) -> None:
    make(tmp_path)
    put(tmp_path / "lists/train.txt", "images/train/a.jpg\n")
    yaml = put(tmp_path / "x.yaml", "train: lists/train.txt\nval: images/val\nnames: [cat]\n")
    assert counts(resolve(yaml))["train"] == (1, 1)


def test_list_lines_that_name_nothing_are_noted(tmp_path: Path) -> None:
    make(tmp_path)
    put(tmp_path / "train.txt", "images/train/a.jpg\nimages/train/gone.jpg\nimages/train/lost.jpg\n")
    dataset = resolve(put(tmp_path / "x.yaml", "train: train.txt\nval: images/val\nnames: [cat]\n"))
    assert counts(dataset)["train"] == (1, 1)
    assert dataset.notes == (f"{tmp_path}/train.txt:2: 2 images of this list do not exist, the first in this line.",)


def test_several_folders_and_lists_make_one_split(tmp_path: Path) -> None:
    make(tmp_path)
    put_pair(tmp_path / "images/more/f.jpg")
    put(tmp_path / "more.txt", "images/more/f.jpg\n")
    yaml = put(tmp_path / "x.yaml", "train: [images/train, more.txt]\nval: images/val\nnames: [cat]\n")
    assert counts(resolve(yaml))["train"] == (4, 4)


def test_images_are_found_in_any_case_at_any_depth_and_other_files_are_not(tmp_path: Path) -> None:
    yaml = make(tmp_path)
    put_pair(tmp_path / "images/train/deep/er/F.JPG")
    put_pair(tmp_path / "images/train/G.Jpeg")
    for name in ("._a.jpg", ".hidden/h.jpg", "notes.txt", "Thumbs.db", "a.npy"):
        put(tmp_path / "images/train" / name)
    assert counts(resolve(yaml))["train"] == (5, 5)


def test_images_without_labels_and_labels_without_images_are_legal(tmp_path: Path) -> None:
    yaml = make(tmp_path)
    put(tmp_path / "images/train/background.jpg")
    put(tmp_path / "labels/train/orphan.txt", ROW)
    assert counts(resolve(yaml))["train"] == (4, 3)


def test_links_are_read_with_the_labels_next_to_the_link(tmp_path: Path) -> None:
    make(tmp_path / "data")
    (tmp_path / "data/images/train").rename(tmp_path / "photos")
    (tmp_path / "data/images/train").symlink_to(tmp_path / "photos", target_is_directory=True)
    (tmp_path / "data/images/val/link.jpg").symlink_to(put(tmp_path / "elsewhere/z.jpg", b"image"))
    (tmp_path / "data/images/val/broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert counts(resolve(tmp_path / "data/dataset.yaml")) == {"train": (3, 3), "val": (3, 2)}


def test_a_link_that_leads_upwards_does_not_trap_the_search(tmp_path: Path) -> None:
    yaml = make(tmp_path)
    (tmp_path / "images/train/loop").symlink_to(tmp_path / "images/train", target_is_directory=True)
    assert counts(resolve(yaml))["train"] == (3, 3)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [cat, dog]", ("cat", "dog")),
        ("names: {0: cat, 1: dog}", ("cat", "dog")),
        ("names: {'1': dog, '0': cat}", ("cat", "dog")),
        ("nc: 2\nnames: [cat, dog]", ("cat", "dog")),
        ("nc: '2'\nnames: [cat, dog]", ("cat", "dog")),
        ("nc: 2.0\nnames: [cat, dog]", ("cat", "dog")),
        ("nc: 2", ("class_0", "class_1")),
        ("names: [no, yes, on, 7]", ("no", "yes", "on", "7")),
        ("names: ['traffic light', кот]", ("traffic light", "кот")),
    ],
)
def test_class_names_are_read_however_they_are_written(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    assert resolve(make(tmp_path, f"train: images/train\nval: images/val\n{text}\n")).names == names


def test_a_val_split_without_labels_is_noted(tmp_path: Path) -> None:
    yaml = make(tmp_path)
    for name in ("d", "e"):
        (tmp_path / f"labels/val/{name}.txt").unlink()
    (note,) = resolve(yaml).notes
    assert "every metric on val will be 0" in note


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("/d/images/train/a.jpg", "/d/labels/train/a.txt"),
        ("/images/d/images/a.b.JPG", "/images/d/labels/a.b.txt"),
        ("/d/myimages/a.png", "/d/myimages/a.txt"),
        ("/d/train/images/a.png", "/d/train/labels/a.txt"),
    ],
)
def test_the_last_images_folder_becomes_labels(image: str, label: str) -> None:
    assert label_path(Path(image)) == Path(label)


def test_download_is_never_followed_and_tags_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    yaml = make(
        tmp_path,
        "train: images/train\nval: images/val\nnames: [cat]\n"
        f"download: |\n  from pathlib import Path\n  Path({str(marker)!r}).touch()\n"
        f"extra: !!python/object/apply:os.mkdir ['{marker}']\n",
    )
    assert counts(resolve(yaml))["train"] == (3, 3)
    assert not marker.exists()


# Refusals: one line that names the file, the line if there is one, the value and the remedy


def refusal(yaml: Path) -> str:
    with pytest.raises(DataError) as caught:
        resolve(yaml)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


@pytest.mark.parametrize(
    ("yaml", "line", "part"),
    [
        pytest.param("", None, "must be a mapping", id="empty"),
        pytest.param("- a\n- b\n", None, "must be a mapping with train, val and names, but got ['a', 'b']", id="list"),
        pytest.param("just text\n", None, "but got 'just text'", id="text"),
        pytest.param(HEAD + "names: [cat\n", 4, "must be valid YAML", id="unclosed"),
        pytest.param(HEAD + 'path: "C:\\Users"\n', 3, "in single quotes", id="escape"),
        pytest.param(HEAD + "train: images\n", 3, "Every key may occur only once", id="duplicate key"),
        pytest.param("a: " + "[" * 5000, 1, "in 32 levels", id="too deep"),
        pytest.param("a: 2020-13-45\n" + HEAD, None, "month must be in 1..12", id="odd date"),
        pytest.param("val: images/val\nnames: [cat]\n", None, "train is missing", id="no train"),
        pytest.param("train: images/train\nnames: [cat]\n", None, "val is missing", id="no val"),
        pytest.param("train: images/train\nval: []\nnames: [cat]\n", None, "val is missing", id="empty val"),
        pytest.param("train: 5\nval: images/val\nnames: [cat]\n", 1, "but got 5", id="number for train"),
        pytest.param("val: images/val\ntrain: [a, {b: c}]\nnames: [cat]\n", 2, "but got ['a', …]", id="nested train"),
        pytest.param(HEAD + "path: 7\nnames: [cat]\n", 3, "path must be the data set's folder", id="number for path"),
        pytest.param(HEAD + "path: ../gone\nnames: [cat]\n", 3, "but got '../gone'", id="path missing"),
        pytest.param("val: images/val\ntrain: images/tran\nnames: [cat]\n", 2, "but got 'images/tran'", id="no folder"),
        pytest.param(
            "train: C:\\data\\train\nval: images/val\nnames: [cat]\n", 1, "does not exist", id="windows drive"
        ),
        pytest.param("train: empty\nval: images/val\nnames: [cat]\n", 1, "at least one image", id="no image"),
        pytest.param("train: bare/images\nval: images/val\nnames: [cat]\n", 1, "bare/labels/x.txt", id="no label"),
        pytest.param(f"train: {'x' * 5000}\nval: images/val\nnames: [a]\n", 1, "does not exist", id="long"),
        pytest.param("a: !!int\n" + HEAD, None, "must be valid YAML", id="number without digits"),
        pytest.param(HEAD, None, "names and nc are both missing", id="no names"),
        pytest.param(HEAD + "names: []\n", 3, "at least one class", id="no class"),
        pytest.param(HEAD + "names: {}\n", 3, "at least one class", id="no class, mapping"),
        pytest.param(HEAD + "nc: 0\n", 3, "but got 0", id="nc 0"),
        pytest.param(HEAD + "nc: -1\nnames: [cat]\n", 3, "but got -1", id="nc negative"),
        pytest.param(HEAD + "nc: 1.5\n", 3, "but got 1.5", id="nc fraction"),
        pytest.param(HEAD + "nc: many\n", 3, "but got 'many'", id="nc text"),
        pytest.param(HEAD + "nc: .nan\n", 3, "but got nan", id="nc nan"),
        pytest.param(HEAD + "nc: .inf\n", 3, "but got inf", id="nc inf"),
        pytest.param(HEAD + "nc: true\n", 3, "but got True", id="nc bool"),
        pytest.param(HEAD + "nc: 999999999999\n", 3, "1 to 100000", id="nc huge"),
        pytest.param(HEAD + "names: [cat]\nnc: 2\n", 4, "but got nc 2 and 1 names", id="nc differs"),
        pytest.param(HEAD + "names: {1: cat, 2: dog}\n", 3, "must be 0 to 1, but got ['1', '2']", id="names gap"),
        pytest.param(HEAD + "names: cat\n", 3, "names must be a list", id="names text"),
        pytest.param(HEAD + "names: [cat, ~]\n", 3, "class 1 got None", id="name null"),
        pytest.param(HEAD + "names: [cat, [dog]]\n", 3, "class 1 got ['dog']", id="name list"),
    ],
)
def test_a_faulty_yaml_is_refused_in_one_line(tmp_path: Path, yaml: str, line: int | None, part: str) -> None:
    file = make(tmp_path, yaml)
    (tmp_path / "empty").mkdir()
    put(tmp_path / "bare/images/x.jpg")
    message = refusal(file)
    assert message.startswith(f"{file}: " if line is None else f"{file}:{line}: ")
    assert part in message
    assert ";" in message  # the rest is the remedy


def test_a_missing_yaml_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.yaml").startswith(f"{tmp_path}/gone.yaml: ")


def test_a_folder_in_place_of_the_yaml_is_refused(tmp_path: Path) -> None:
    assert "give the YAML file in it" in refusal(tmp_path)


def test_a_yaml_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    file = put(tmp_path / "x.yaml", b"train: a\nnames: [caf\xe9]\n")
    assert refusal(file).startswith(f"{file}:2: ")


def test_a_yaml_beyond_a_mebibyte_is_refused(tmp_path: Path) -> None:
    file = put(tmp_path / "x.yaml", "#" * ((1 << 18) + 1))
    assert "262144 bytes" in refusal(file)


def test_nested_anchors_do_not_blow_up_the_message(tmp_path: Path) -> None:
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    for use in (
        "train: *a29\nval: x\nnames: [a]\n",
        HEAD + "names: *a29\n",
        HEAD + "names: [a]\npath: *a29\n",
    ):
        assert "…" in refusal(make(tmp_path, f"a0: &a0 [x]\n{levels}{use}"))


def test_a_list_of_missing_images_is_refused_with_its_line(tmp_path: Path) -> None:
    make(tmp_path)
    put(tmp_path / "train.txt", "\nimages/train/gone.jpg\n")
    message = refusal(put(tmp_path / "x.yaml", "train: train.txt\nval: images/val\nnames: [cat]\n"))
    assert message.startswith(f"{tmp_path}/train.txt:2: ")


def test_resolving_changes_nothing(tmp_path: Path) -> None:
    yaml = make(tmp_path)
    before = snapshot(tmp_path)
    fingerprint(resolve(yaml))
    assert snapshot(tmp_path) == before


# The fingerprint


def test_moving_the_data_set_keeps_its_fingerprint(tmp_path: Path) -> None:
    make(tmp_path / "here")
    put(tmp_path / "here/val.txt", "images/val/d.jpg\nimages/val/e.jpg\n")
    yaml = put(tmp_path / "here/x.yaml", "train: images/train\nval: val.txt\nnames: [cat]\n")
    before = fingerprint(resolve(yaml))
    (tmp_path / "here").rename(tmp_path / "there")
    assert fingerprint(resolve(tmp_path / "there/x.yaml")) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: put(root / "labels/train/a.txt", "1 0.5 0.5 0.25 0.25\n"),
        lambda root: put(root / "images/train/a.jpg", b"a larger image"),
        lambda root: put_pair(root / "images/train/new.jpg"),
        lambda root: (root / "images/train/a.jpg").rename(root / "images/train/z.jpg"),
        lambda root: (root / "images/val/d.jpg").rename(root / "images/train/d.jpg"),
        lambda root: (root / "labels/val/d.txt").unlink(),
    ],
    ids=["label", "size", "new image", "name", "split", "no labels"],
)
def test_a_change_to_what_is_trained_on_changes_the_fingerprint(tmp_path: Path, change: object) -> None:
    yaml = make(tmp_path)
    before = fingerprint(resolve(yaml))
    assert callable(change)
    change(tmp_path)
    assert fingerprint(resolve(yaml)) != before


def test_what_is_not_trained_on_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    yaml = make(tmp_path)
    before = fingerprint(resolve(yaml))
    put(tmp_path / "labels/train.cache", "cache")
    put(tmp_path / "labels/train/orphan.txt", ROW)
    os.utime(tmp_path / "images/train/a.jpg", (1, 1))
    assert fingerprint(resolve(yaml)) == before


def test_an_image_that_goes_away_is_a_data_error(tmp_path: Path) -> None:
    dataset = resolve(make(tmp_path))
    (tmp_path / "images/train/a.jpg").unlink()
    with pytest.raises(DataError, match=r"a\.jpg: Every image"):
        fingerprint(dataset)
