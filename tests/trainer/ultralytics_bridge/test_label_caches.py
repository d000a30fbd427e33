"""Label caches: no cache next to the user's labels is read or written, and the kept labels equal those read."""

import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.ultralytics_bridge import environment

environment.configure()

import ultralytics.data.dataset as stock  # noqa: E402 - only after the environment is set
from ultralytics.cfg import get_cfg  # noqa: E402

from trainer.ultralytics_bridge import label_caches  # noqa: E402

LABELS = {
    "boxes.txt": "0 0.5 0.5 0.2 0.2\n1 0.25 0.25 0.1 0.3\n",
    "outlines.txt": "0 0.1 0.1 0.2 0.1 0.2 0.2\n2 0.5 0.5 0.6 0.5 0.6 0.6 0.5 0.6\n",
    "empty.txt": "",
    "none.txt": None,
    "twice.txt": "1 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n",
    "broken.txt": "9 0.5 0.5 0.2 0.2\n",
}
NAMES = {0: "a", 1: "b", 2: "c"}


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def user_data(tmp_path):
    """Make one image of each kind, one of them with a name that is not UTF-8."""
    root = tmp_path / "data"
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    for number, (name, text) in enumerate(LABELS.items()):
        Image.new("RGB", (40 + number, 30)).save(root / "images" / name.replace(".txt", ".jpg"))
        if text is not None:
            (root / "labels" / name).write_text(text)
    odd = os.fsencode(root / "images") + b"/odd\xff.jpg"
    Path(os.fsdecode(odd)).write_bytes((root / "images" / "boxes.jpg").read_bytes())
    return root


def dataset_of(root, **changes):
    options = {"data": {"names": NAMES, "channels": 3}, "task": "detect", "imgsz": 64, "augment": False} | changes
    return stock.YOLODataset(img_path=str(root / "images"), hyp=get_cfg(), **options)


def content(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def caches(cache_home):
    return [path for path in cache_home.rglob("*") if path.is_file()]


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert (one == other).all()
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert one == other


def never(*arguments):
    raise AssertionError("the label files were read again")


@pytest.fixture
def no_scan(monkeypatch):
    """Return a function that makes the test fail if a label file is read from then on."""
    return lambda: monkeypatch.setattr(stock, "verify_image_label", never)


def test_labels_from_the_cache_equal_those_that_ultralytics_reads(user_data, no_scan):
    dataset = dataset_of(user_data)
    fingerprint = dataset.get_cache_hash()
    # The result of a scan, before `get_labels` and the data set remove parts of it.
    read, was_kept = label_caches.labels_of(fresh(dataset, user_data), Path("x"), "another fingerprint")
    assert not was_kept
    no_scan()
    kept, was_kept = label_caches.labels_of(fresh(dataset, user_data), Path("x"), "another fingerprint")
    assert was_kept
    kept["hash"] = read["hash"] = fingerprint
    assert_same(read, kept)
    assert any(len(label["segments"]) == 2 for label in kept["labels"])
    assert any("duplicate" in message for message in kept["msgs"])


def fresh(dataset, root):
    """Reset the data set to its state before it reads labels: with all images, including unusable ones."""
    dataset.im_files = dataset.get_img_files(str(root / "images"))
    return dataset


def test_the_second_trial_reads_no_label_file(user_data, no_scan):
    first = dataset_of(user_data)
    no_scan()
    assert_same(first.labels, dataset_of(user_data).labels)


@pytest.mark.parametrize("changed", ["labels/boxes.txt", "images/boxes.jpg"])
def test_a_changed_file_renews_the_cache(user_data, changed):
    dataset_of(user_data)
    (user_data / "labels" / "boxes.txt").write_text("2 0.5 0.5 0.25 0.25\n")
    os.utime(user_data / changed, ns=(1, 1))
    (label,) = [label for label in dataset_of(user_data).labels if label["im_file"].endswith("boxes.jpg")]
    assert label["cls"].tolist() == [[2.0]]


def test_labels_in_one_folder_are_kept_apart_for_each_list_of_images(user_data, cache_home):
    dataset_of(user_data)
    dataset_of(user_data, fraction=0.5)
    assert len(caches(cache_home)) == 2


def test_the_users_folder_stays_as_it_was(user_data):
    before = content(user_data)
    dataset_of(user_data)
    dataset_of(user_data)
    assert content(user_data) == before


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def plant(path, marker):
    with path.open("wb") as file:
        np.save(file, np.array({"labels": Payload(marker)}, dtype=object), allow_pickle=True)


def test_a_pickle_next_to_the_labels_is_neither_run_nor_replaced(user_data, tmp_path):
    marker, planted = tmp_path / "it-ran", user_data / "labels.cache"
    plant(planted, marker)
    before = planted.read_bytes()
    dataset_of(user_data)
    assert not marker.exists()
    assert planted.read_bytes() == before
    np.load(planted, allow_pickle=True)
    assert marker.exists(), "the planted file does what it is meant to"


@pytest.mark.parametrize("make", [plant, lambda path, marker: path.write_bytes(pickle.dumps(Payload(marker)))])
def test_a_pickle_in_our_own_folder_is_not_run_either(user_data, cache_home, tmp_path, make, no_scan):
    expected = dataset_of(user_data).labels
    (path,) = caches(cache_home)
    make(path, tmp_path / "it-ran")
    assert_same(dataset_of(user_data).labels, expected)
    assert not (tmp_path / "it-ran").exists()
    no_scan()
    assert_same(dataset_of(user_data).labels, expected)


def test_arrays_of_objects_in_our_own_folder_are_not_unpickled(user_data, cache_home, tmp_path):
    expected = dataset_of(user_data).labels
    (path,) = caches(cache_home)
    arrays = dict(np.load(path))
    with path.open("wb") as file:
        np.savez(file, **{**arrays, "classes": np.array([Payload(tmp_path / "it-ran")], dtype=object)})
    assert_same(dataset_of(user_data).labels, expected)
    assert not (tmp_path / "it-ran").exists()


def edited(path, **changes):
    """Give a cache other arrays, or other fields of its JSON text."""
    with np.load(path) as kept:
        arrays = dict(kept)
    about = json.loads(arrays["about"].tobytes())
    for name, value in changes.items():
        if name in arrays:
            arrays[name] = value(arrays[name])
        else:
            about[name] = value
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


BREAK = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a flipped bit": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "something else": lambda path: path.write_text("hello"),
    "another archive": lambda path: np.savez(path, x=np.zeros(3)),
    "another format": lambda path: edited(path, format="0"),
    "a box too few": lambda path: edited(path, boxes=lambda boxes: boxes[1:]),
    "a column too few": lambda path: edited(path, points=lambda points: points[:, :1]),
    "numbers of another kind": lambda path: edited(path, classes=lambda classes: classes.astype(int)),
    "a length too few": lambda path: edited(path, boxes_of_image=lambda lengths: lengths[:-1]),
    "negative lengths": lambda path: edited(path, boxes_of_image=lambda n: np.array([*n[:-2], 2, -2 + n[-2:].sum()])),
    "an image too few": lambda path: edited(path, images=[]),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("broken", BREAK)
def test_a_broken_or_foreign_cache_is_made_again_and_never_an_error(user_data, cache_home, broken):
    expected = dataset_of(user_data).labels
    (path,) = caches(cache_home)
    BREAK[broken](path)
    assert_same(dataset_of(user_data).labels, expected)


@pytest.mark.parametrize("home", ["/proc/none", "/dev/null"])
def test_without_a_place_for_caches_training_continues(user_data, monkeypatch, home):
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    before = content(user_data)
    assert len(dataset_of(user_data).labels) == len(LABELS), "all but the one with a wrong class, and the odd name"
    assert content(user_data) == before


def test_a_cache_that_does_not_fit_on_the_disk_leaves_no_partial_file(user_data, cache_home, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    dataset_of(user_data)
    assert caches(cache_home) == []


def test_trials_that_start_together_do_no_harm(user_data, cache_home, no_scan, monkeypatch, caplog):
    expected = dataset_of(user_data).labels
    (path,) = caches(cache_home)
    path.unlink()
    found = []
    all_have_written = threading.Barrier(8, timeout=60)
    monkeypatch.setattr(os, "fsync", lambda descriptor: all_have_written.wait())
    trials = [threading.Thread(target=lambda: found.append(dataset_of(user_data).labels)) for _ in range(8)]
    for trial in trials:
        trial.start()
    for trial in trials:
        trial.join()
    assert len(found) == 8
    assert "could not be cached" not in caplog.text
    for labels in found:
        assert_same(labels, expected)
    assert caches(cache_home) == [path]
    no_scan()
    assert_same(dataset_of(user_data).labels, expected)


READ_ONLY = """
import sys
from pathlib import Path
from tests.trainer.ultralytics_bridge import test_label_caches as tests
print(len(tests.dataset_of(Path(sys.argv[1])).labels))
"""


def test_a_read_only_data_set_is_read_and_kept(user_data, cache_home):
    script = f'mount --bind "{user_data}" "{user_data}" && mount -o remount,bind,ro "{user_data}" && exec "$@"'
    command = ["unshare", "-Urm", "sh", "-c", script, "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system does not let a user mount a folder read-only (unshare -Urm)")
    reader = [*command, sys.executable, "-c", READ_ONLY, str(user_data)]
    done = subprocess.run(reader, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(len(LABELS))
    assert len(caches(cache_home)) == 1
    touched = subprocess.run([*command, "touch", str(user_data / "labels" / "x")], capture_output=True, check=False)
    assert touched.returncode, "it is read-only"


def test_a_log_is_not_flooded_with_a_line_for_each_image(user_data, caplog):
    for number in range(100):
        (user_data / "images" / f"{number}.jpg").write_bytes(b"no image")
    dataset_of(user_data)
    caplog.clear()
    dataset_of(user_data)
    told = [line for record in caplog.records for line in record.getMessage().splitlines() if "corrupt" in line]
    assert len(told) <= 20
    assert "more of this kind" in caplog.text
