"""Store the time of an epoch from a dry run for the next run."""

import json

import pytest

from tuner.cost.epoch_times import TimedEpoch, keep, kept
from tuner.system.paths import cache_folder

WHAT = ["0" * 64, "mamba-yolo-t", {"batch": 16, "imgsz": 640}]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_stored_time_is_found_again():
    keep(WHAT, TimedEpoch(seconds=41.5, when_s=1000.0))
    assert kept(WHAT) == TimedEpoch(seconds=41.5, when_s=1000.0)


@pytest.mark.parametrize(
    "other",
    [
        ["1" * 64, *WHAT[1:]],
        [WHAT[0], "mamba-yolo-b", WHAT[2]],
        [*WHAT[:2], {"batch": 32, "imgsz": 640}],
        [*WHAT[:2], {"batch": 16, "imgsz": 320}],
        [*WHAT, "another machine"],
    ],
    ids=["data", "model", "batch", "imgsz", "machine"],
)
def test_the_time_of_a_different_epoch_is_not_used(other):
    keep(WHAT, TimedEpoch(seconds=41.5, when_s=1000.0))
    assert kept(other) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"seconds": "nan", "when_s": 1.0}),
        json.dumps({"seconds": -1.0, "when_s": 1.0}),
        json.dumps({"seconds": None, "when_s": 1.0}),
    ],
)
def test_an_invalid_file_is_ignored(content):
    keep(WHAT, TimedEpoch(seconds=41.5, when_s=1000.0))
    (file,) = (cache_folder() / "epoch-times").iterdir()
    file.write_text(content)
    assert kept(WHAT) is None


def test_without_a_cache_folder_nothing_is_stored_and_nothing_fails(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    keep(WHAT, TimedEpoch(seconds=41.5, when_s=1000.0))
    assert kept(WHAT) is None


@pytest.mark.parametrize(
    ("age_s", "told"),
    [(-5, "just now"), (59, "just now"), (60, "1 minute ago"), (7199, "1 hour ago"), (200_000, "2 days ago")],
)
def test_the_source_of_a_time_says_how_old_it_is(age_s, told):
    source = TimedEpoch(seconds=1.0, when_s=1000.0).source(1000.0 + age_s)
    assert source == f"measured {told} on the first epoch of the default configuration"
