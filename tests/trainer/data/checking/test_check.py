"""The check of a whole data set: it finds every planted flaw and nothing else, and writes nothing."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support import dirty_data as planted
from trainer.data.checking import check as checking
from trainer.data.checking.check import check, checked, notes, usable
from trainer.data.checking.refusal import MAX_BROKEN_FRACTION
from trainer.data.dataset import resolve
from tuner.contract import ProgressRecord
from tuner.contract.data_report import DataReport, decode_report, encode_report


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """Make the data set once: no test here may change it."""
    return planted.make(tmp_path_factory.mktemp("dirty") / "data")


@pytest.fixture(scope="module")
def report(dirty):
    return check(resolve(dirty.root / "dataset.yaml"))


def found(report: DataReport, root: Path) -> planted.Found:
    places = defaultdict(set)
    for finding in report.findings:
        for place in finding.places:
            places[finding.kind].add((finding.split, os.path.relpath(place.file, root), place.line))
    return places


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path): (path.lstat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in folder.rglob("*")
    }


def test_every_planted_flaw_is_found_at_its_place_and_nothing_else(dirty, report):
    assert found(report, dirty.root) == dirty.planted


def test_no_byte_of_the_input_changes(dirty):
    before = snapshot(dirty.root.parent)
    check(resolve(dirty.root / "dataset.yaml"))
    assert snapshot(dirty.root.parent) == before


def test_a_read_only_data_set_is_checked_too(dirty, tmp_path):
    script = f'mount --bind "{dirty.root}" "{dirty.root}" && mount -o remount,bind,ro "{dirty.root}" && exec "$@"'
    mounted = ["unshare", "-Urm", "sh", "-c", script, "-"]
    if subprocess.run([*mounted, "true"], check=False).returncode:
        pytest.skip("this system does not let a user mount a folder read-only (unshare -Urm)")
    data = dirty.root / "dataset.yaml"
    assert subprocess.run([*mounted, "touch", str(data)], check=False, capture_output=True).returncode
    program = (
        "from pathlib import Path; "
        "from trainer.data.checking.check import check; from trainer.data.dataset import resolve; "
        f"print(len(check(resolve(Path({str(data)!r}))).findings))"
    )
    done = subprocess.run([*mounted, sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert int(done.stdout) == len(check(resolve(data)).findings)


def test_the_counts_of_splits_and_classes_are_those_of_usable_images(report):
    train = report.splits["train"]
    assert train.images - train.usable == len([path for path in report.left_out if "/images/train/" in path]) == 19
    assert report.splits["val"].usable == report.splits["val"].images == 18
    assert report.splits["val"].background == 2
    assert report.splits["train"].unlabelled == 1
    assert [facts.name for facts in report.classes] == list(planted.NAMES)
    assert report.classes[2].boxes == {"train": 0, "val": 0, "test": 0}
    assert report.classes[4].boxes["train"] == report.classes[4].images["train"] == 30
    assert sum(facts.boxes["train"] for facts in report.classes) == train.boxes


def test_an_encoded_report_decodes_unchanged(report):
    assert decode_report(encode_report(report)) == report


def test_unusable_images_are_left_out_and_the_rest_is_kept(dirty, report):
    dataset = resolve(dirty.root / "dataset.yaml")
    kept = {str(p.path) for split in usable(dataset, report).splits.values() for p in split.images}
    everything = {str(p.path) for split in dataset.splits.values() for p in split.images}
    assert kept == everything - set(report.left_out)


def test_worst_findings_come_first(report):
    levels = [finding.level for finding in report.findings]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert report.findings[0].kind == "leaked-image"


# Refusals


@pytest.fixture
def clean(tmp_path):
    """Make 300 training and 100 validation images without a flaw."""
    made = planted.Dirty(tmp_path / "data")
    for split, number in (("train", 300), ("val", 100)):
        for index in range(number):
            made.put(split, f"{index:03}.jpg", made.jpeg(made.pixels(24, 16)))
    (made.root / "dataset.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    return made


def judged(made: planted.Dirty) -> DataReport:
    return check(resolve(made.root / "dataset.yaml"))


def test_a_clean_data_set_has_no_errors_and_is_not_refused(clean):
    report = judged(clean)
    assert not report.refusal
    assert not report.left_out
    assert {finding.kind for finding in report.findings} <= {"noisy-validation"}


@pytest.mark.parametrize(("broken", "refused"), [(3, False), (4, True)])
def test_more_than_one_in_a_hundred_broken_images_are_refused(clean, broken, refused):
    assert MAX_BROKEN_FRACTION == 0.01
    for index in range(broken):
        clean.put("train", f"{index:03}.jpg", b"no image")
    report = judged(clean)
    assert len(report.left_out) == broken
    assert bool(report.refusal) == refused
    if refused:
        assert "4 of 300 images of train cannot be used, the first: " in report.refusal
        assert "images/train/000.jpg" in report.refusal


@pytest.mark.parametrize(("leaked", "refused"), [(1, False), (2, True)])
def test_more_than_one_in_a_hundred_leaked_images_are_refused(clean, leaked, refused):
    for index in range(leaked):
        copy = (clean.root / f"images/train/{index:03}.jpg").read_bytes()
        clean.put("val", f"{index:03}.jpg", copy)
    report = judged(clean)
    assert bool(report.refusal) == refused
    assert any("images that are also in an earlier split" in note for note in notes(report))


def test_an_image_listed_twice_under_two_names_is_a_leak(clean):
    for index in range(5):
        os.link(clean.root / f"images/train/{index:03}.jpg", clean.root / f"images/val/link{index}.jpg")
    assert "5 of 105 images of val are also in train" in judged(clean).refusal


def test_a_val_split_that_is_the_training_set_is_refused(clean):
    (clean.root / "dataset.yaml").write_text("train: images/train\nval: images/train\nnames: [cat]\n")
    assert "300 of 300 images of val are also in train" in judged(clean).refusal


# Cached results


@pytest.fixture
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_data_set_is_checked_once_until_a_file_of_it_changes(clean, cache_home, monkeypatch):
    dataset = resolve(clean.root / "dataset.yaml")
    first = checked(dataset)
    with monkeypatch.context() as patched:
        patched.setattr(checking, "scan", None)
        assert checked(dataset) == first
    label = clean.root / "labels/train/000.txt"
    label.write_text("9 0.5 0.5 0.2 0.2\n")
    assert checked(dataset).left_out == (str(clean.root / "images/train/000.jpg"),)


def test_a_broken_cached_result_is_made_again(clean, cache_home):
    dataset = resolve(clean.root / "dataset.yaml")
    first = checked(dataset)
    (kept,) = cache_home.rglob("*.json")
    kept.write_text(kept.read_text()[:100])
    assert checked(dataset) == first


def test_without_a_cache_folder_a_data_set_is_checked_every_time(clean, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    dataset = resolve(clean.root / "dataset.yaml")
    assert checked(dataset) == checked(dataset)


def test_progress_is_reported_to_the_end_of_each_step(clean):
    heard: list[ProgressRecord] = []
    check(resolve(clean.root / "dataset.yaml"), heard.append)
    assert [progress.step for progress in heard if progress.done == progress.total == 400] == [
        "images and labels",
    ]


def test_several_processes_find_what_one_finds(dirty, report, monkeypatch):
    from trainer.system import parallel

    monkeypatch.setattr(parallel, "BATCH", 7)
    assert check(resolve(dirty.root / "dataset.yaml")) == report


def test_files_that_vanish_during_the_check_are_unreadable_images(clean):
    dataset = resolve(clean.root / "dataset.yaml")
    shutil.rmtree(clean.root / "images/val")
    report = check(dataset)
    assert len(report.left_out) == 100
    assert "images of val cannot be used" in report.refusal
