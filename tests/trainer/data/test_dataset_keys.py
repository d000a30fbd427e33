"""Keys of a data set YAML that change its meaning: obeyed, refused with their line, or ignored with a note."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.checking.check import check
from trainer.data.dataset import DataSet, fingerprint, resolve
from trainer.data.dataset_writer import write_resolved
from trainer.exceptions import DataError

LINES = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


@pytest.fixture
def described(tmp_path):
    """Return a function that makes a data set whose YAML has more lines, from the fourth on."""

    def make(lines: str = "", rows: str = "0 0.5 0.5 0.4 0.4\n", mode: str = "RGB", suffix: str = ".png") -> Path:
        rng = np.random.default_rng(0)
        for split in ("train", "val"):
            for number in range(4):
                image = tmp_path / f"data/images/{split}/{number}{suffix}"
                image.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (24, 32, 4), np.uint8), "RGBA").convert(mode).save(image)
                label = tmp_path / f"data/labels/{split}/{number}.txt"
                label.parent.mkdir(parents=True, exist_ok=True)
                label.write_text(rows)
        (tmp_path / "data/data.yaml").write_text(LINES + lines)
        return tmp_path / "data/data.yaml"

    return make


def resolved(data: Path, folder: Path) -> str:
    folder.mkdir()
    return write_resolved(resolve(data), folder / "data.yaml").read_text()


@pytest.mark.parametrize(
    ("lines", "channels"), [("", 3), ("channels: 1\n", 1), ("channels: '4'\n", 4), ("channels:\n", 3)]
)
def test_the_number_of_channels_reaches_training(described, tmp_path, lines, channels):
    data = described(lines)
    assert resolve(data).channels == channels
    assert (f"channels: {channels}\n" in resolved(data, tmp_path / "out")) == (channels != 3)


@pytest.mark.parametrize(
    ("channels", "mode", "suffix", "fits"),
    [
        (3, "RGBA", ".png", True),
        (1, "RGB", ".jpg", True),
        (4, "RGBA", ".png", True),
        (4, "RGBA", ".tif", True),
        (4, "RGB", ".png", False),
        (4, "RGB", ".jpg", False),
        (6, "RGBA", ".tif", False),
    ],
)
def test_images_must_have_the_channels_that_the_model_takes(described, channels, mode, suffix, fits):
    report = check(resolve(described(f"channels: {channels}\n", mode=mode, suffix=suffix)))
    assert bool(report.refusal) != fits
    assert ("image-channels" in {found.kind for found in report.findings}) != fits


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("channels: rgb", "channels must be the number of channels of the images, 1 to 256, but got 'rgb'"),
        ("channels: 0", "but got 0"),
        ("channels: 2.5", "but got 2.5"),
        ("channels: [3]", "but got [3]"),
        ("channels: true", "but got True"),
        ("kpt_shape: 17", "kpt_shape must be the number of keypoints and 2 or 3 values per keypoint, but got 17"),
        ("kpt_shape: [17]", "but got [17]"),
        ("kpt_shape: [17, 4]", "but got [17, 4]"),
        ("kpt_shape: [0, 3]", "but got [0, 3]"),
    ],
)
def test_an_impossible_value_is_refused_with_file_and_line(described, line, told):
    data = described(f"{line}\n")
    with pytest.raises(DataError) as refused:
        resolve(data)
    assert str(refused.value).startswith(f"{data}:4: ")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("kpt_shape: [1, 2]", "a detector trains on the boxes"),
        ("flip_idx: [0, 2, 1]", "flip_idx is for keypoints"),
        ("masks_dir: masks", "masks_dir is for semantic segmentation"),
        ("depth_scale: 100", "depth_scale is for depth estimation"),
        ("task: segment", "task is ignored"),
        ("fraction: 0.1", "fraction is a training argument"),
        ("single_cls: true", "single_cls is a training argument"),
        ("classes: [0]", "classes is a training argument"),
    ],
)
def test_ignored_keys_are_reported_with_file_and_line(described, line, told):
    data = described(f"{line}\n")
    (note,) = resolve(data).notes
    assert note.startswith(f"{data}:4: ")
    assert told in note


@pytest.mark.parametrize(
    "line",
    ["license: MIT", "roboflow:\n  url: https://example.com", "nc: 2", "task: detect", "fraction:", "download: x.zip"],
)
def test_keys_that_change_nothing_are_not_reported(described, line):
    assert resolve(described(f"{line}\n")).notes == ()


def test_data_that_were_never_fetched_are_reported_as_such(described):
    data = described("download: https://example.com/data.zip\n")
    (data.parent / "images/val").rename(data.parent / "away")
    with pytest.raises(DataError, match="ignores `download`"):
        resolve(data)


@pytest.mark.parametrize("line", ["channels: 1", "kpt_shape: [2, 3]"])
def test_what_changes_how_files_are_read_changes_the_fingerprint(described, line):
    before = fingerprint(resolve(described()))
    assert fingerprint(resolve(described(f"{line}\n"))) != before
    assert fingerprint(resolve(described("channels: 3\n"))) == before


# Keypoints


def kinds(dataset: DataSet) -> set[str]:
    return {found.kind for found in check(dataset).findings}


POSES = {
    "17 of COCO": ([17, 3], "0 0.5 0.5 0.4 0.4" + " 0.45 0.55 2 0 0 0" * 8 + " 0.6 0.4 1"),
    "one": ([1, 3], "1 0.5 0.5 0.4 0.4 0.5 0.5 2"),
    "six of three values": ([6, 3], "0 0.3 0.3 0.2 0.4" + " 0.25 0.2 2 0.35 0.45 1" * 3),
    "two of two values": ([2, 2], "0 0.5 0.5 0.4 0.4 0.35 0.35 0.65 0.65"),
    "five of two values": ([5, 2], "0 0.6 0.5 0.4 0.6 0.45 0.3 0.7 0.6 0.6 0.7 0.5 0.5 0 0"),
}


@pytest.mark.parametrize("case", POSES)
def test_boxes_with_keypoints_are_recognised_and_refused_with_the_key_that_they_need(described, case):
    _, row = POSES[case]
    dataset = resolve(described(rows=f"{row}\n"))
    report = check(dataset)
    assert "keypoint-labels" in {found.kind for found in report.findings}
    assert "boxes with keypoints" in report.refusal
    assert "kpt_shape" in report.refusal


@pytest.mark.parametrize("case", POSES)
def test_with_the_key_the_boxes_are_trained_on_as_by_ultralytics(described, tmp_path, case):
    shape, row = POSES[case]
    data = described(f"kpt_shape: {shape}\n", rows=f"{row}\n")
    report = check(resolve(data))
    assert not report.refusal
    assert report.splits["train"].boxes == 4
    assert f"kpt_shape: {shape}\n" in resolved(data, tmp_path / "out")
    assert "keypoint-labels" not in kinds(resolve(data))
