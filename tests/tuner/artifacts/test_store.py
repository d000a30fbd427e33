"""Check what the tuner does with a store: number attempts, fetch files, remove runs."""

import hashlib
import json

import pytest

from tests.support.s3 import in_environment, s3_server
from trainer.artifacts.run_store import RunStore
from trainer.exceptions import Superseded
from tuner.artifacts.store import Store
from tuner.exceptions import MachineError

RUN = "trials/0003"


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "store")


@pytest.fixture
def push(place, tmp_path):
    """Return a function that pushes a run as a trainer does, by its files."""

    def make(attempt, *, place=place, ended=True, **files):
        folder = tmp_path / f"attempt-{attempt}"
        for name, text in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        store = RunStore(f"{place}/s/{RUN}", attempt)
        store.pull(folder)
        for name, text in files.items():
            (folder / name.replace("__", "/")).parent.mkdir(parents=True, exist_ok=True)
            (folder / name.replace("__", "/")).write_text(text)
        store.push(folder, 3, ended=ended)

    return make


def files(folder):
    names = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    return {name: text for name, text in names.items() if not name.startswith(".")}


def test_attempts_of_a_later_driver_have_higher_numbers(place):
    first = Store(place, "s").claim()
    second = Store(place, "s").claim()
    numbers = [first(), first(), second(), second()]
    assert numbers == sorted(set(numbers))
    assert Store(place, "s").runs("drivers") == ["drivers/000002"], "one file stays, however many drivers"


def test_records_are_fetched_without_weights_and_all_files_with_them(place, push, tmp_path):
    push(1, records="r", weights__last="w")
    store = Store(place, "s")
    assert store.runs("trials") == [RUN]
    store.fetch(RUN, tmp_path / "here", weights=False)
    assert files(tmp_path / "here") == {"records": "r"}
    store.fetch(RUN, tmp_path / "here", weights=True)
    assert files(tmp_path / "here") == {"records": "r", "weights/last": "w"}
    push(2, records="r2", weights__last="w2")
    store.fetch(RUN, tmp_path / "here", weights=True)
    assert files(tmp_path / "here") == {"records": "r2", "weights/last": "w2"}


def test_files_on_s3_are_fetched_the_same_way_and_a_run_can_be_removed(push, tmp_path):
    with s3_server() as server, in_environment(server.environment):
        push(1, place=server.url, records="r", weights__last="w")
        store = Store(server.url, "s")
        store.fetch(RUN, tmp_path / "here", weights=True)
        assert files(tmp_path / "here") == {"records": "r", "weights/last": "w"}
        assert store.has_ended(RUN)
        assert store.claim()() < Store(server.url, "s").claim()()
        store.remove(RUN)
        store.remove(RUN)
        store.fetch(RUN, tmp_path / "there", weights=True)
        assert not (tmp_path / "there").exists()


def test_a_run_has_ended_when_its_last_attempt_says_so(place, push):
    store = Store(place, "s")
    assert not store.has_ended(RUN)
    push(1, ended=False, records="r")
    assert not store.has_ended(RUN)
    push(1, ended=True, records="r2")
    assert store.has_ended(RUN)


def test_a_damaged_file_is_never_fetched(place, push, tmp_path):
    push(1, records="r")
    digest = hashlib.sha256(b"r").hexdigest()
    (tmp_path / "store" / "s" / RUN / "objects" / digest).write_text("x")
    with pytest.raises(MachineError, match="the content of records is damaged"):
        Store(place, "s").fetch(RUN, tmp_path / "here", weights=True)
    assert not (tmp_path / "here" / "records").exists()


def test_a_removed_run_does_not_come_back_with_a_machine_that_was_cut_off(place, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "records").write_text("r")
    cut_off = RunStore(f"{place}/s/{RUN}", 1)
    cut_off.pull(folder)
    cut_off.push(folder, 1, ended=False)
    Store(place, "s").remove(RUN)
    with pytest.raises(Superseded):
        cut_off.push(folder, 2, ended=False)
    assert not (tmp_path / "store" / "s" / RUN / "000000000001.json").exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", ".evil", "weights/../../evil"])
def test_a_hostile_manifest_writes_nothing_outside_the_folder(place, tmp_path, name):
    run = tmp_path / "store" / "s" / RUN
    (run / "objects").mkdir(parents=True)
    digest = hashlib.sha256(b"evil").hexdigest()
    (run / "objects" / digest).write_bytes(b"evil")
    body = {"format": 1, "attempt": 1, "epoch": 1, "ended": True, "files": {"records": digest, name: digest}}
    (run / "000000000001.json").write_text(json.dumps(body))
    before = set(tmp_path.iterdir())
    Store(place, "s").fetch(RUN, tmp_path / "here", weights=True)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("/proc/store", "'/proc/store' is not"),
        ("nowhere://bucket", "Protocol not known: nowhere"),
        ("file:///dev/null/store", "NotADirectoryError"),
    ],
)
def test_an_unusable_store_is_reported_in_one_line(place, why):
    with pytest.raises(MachineError, match=why) as told:
        Store(place, "s")
    assert "\n" not in str(told.value)
    assert "--artifacts" in str(told.value)


def test_a_missing_or_silent_bucket_is_reported_without_credentials():
    with s3_server() as server, in_environment(server.environment):
        with pytest.raises(MachineError, match="'s3://no-such-bucket' is not") as told:
            Store("s3://no-such-bucket", "s")
        server.stop()
        with pytest.raises(MachineError, match=r"'s3://team-.*' is not") as silent:
            Store(server.url, "s")
        server.start()
    assert "s3cretkey" not in f"{told.value} {silent.value}"
