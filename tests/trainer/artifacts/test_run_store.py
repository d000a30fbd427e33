"""Files of a run in a store: whole, numbered by attempt, and never replaced by an attempt that was taken over."""

import json
import logging

import pytest

from tests.support.s3 import in_environment, s3_server
from trainer.artifacts.run_store import RunStore, stored_files
from trainer.exceptions import Superseded
from tuner.contract.artifacts import OBJECTS, decode_manifest, manifest_name


@pytest.fixture(scope="module")
def server():
    with s3_server() as server, in_environment(server.environment):
        yield server


ON_BOTH = pytest.mark.parametrize("url", ["folder", "s3"], indirect=True)


@pytest.fixture
def url(request, tmp_path):
    """Return the URL of a run's folder: a path, or one of an S3 server."""
    if getattr(request, "param", "folder") == "folder":
        return str(tmp_path / "store" / "run")
    return f"{request.getfixturevalue('server').url}/{tmp_path.name}/run"


@pytest.fixture
def machine(tmp_path):
    """Return a function that makes the folder of a run on a machine of this name."""

    def make(name, **files):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, text in files.items():
            path = folder / file.replace("__", "/").replace("_pt", ".pt").replace("_log", ".log")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return folder

    return make


def names(folder):
    return {name for name, _ in stored_files(folder)}


@ON_BOTH
def test_the_next_attempt_finds_the_files_of_the_last_one_on_another_machine(url, machine):
    first = machine("one", weights__last_pt="3", trainer_log="a\n")
    RunStore(url, 1).pull(first)
    RunStore(url, 1).push(first, 3, ended=False)
    second = machine("two", trainer_log="b\n")
    RunStore(url, 2).pull(second)
    assert (second / "weights/last.pt").read_text() == "3"
    assert (second / "trainer.log").read_text() == "a\nb\n", "the log continues"


@ON_BOTH
def test_an_attempt_that_was_taken_over_neither_writes_nor_removes_anything(url, machine):
    lost, other = machine("one", weights__last_pt="3"), machine("two")
    old = RunStore(url, 1)
    old.pull(lost)
    old.push(lost, 3, ended=False)
    new = RunStore(url, 2)
    new.pull(other)
    machine("one", weights__last_pt="4")
    with pytest.raises(Superseded, match="attempt 2 has taken over this run from attempt 1"):
        old.push(lost, 4, ended=False)
    third = machine("three")
    RunStore(url, 3).pull(third)
    assert (third / "weights/last.pt").read_text() == "3"
    with pytest.raises(Superseded):
        old.pull(lost)


def test_a_late_attempt_removes_nothing_that_its_successor_resumes_from(url, machine, monkeypatch):
    """It was cut off after writing its manifest and before removing the files that this does not name."""
    lost, other = machine("one", weights__last_pt="3"), machine("two")
    old, new = RunStore(url, 1), RunStore(url, 2)
    old.pull(lost)
    old.push(lost, 3, ended=False)
    machine("one", weights__last_pt="4")
    remove = old._remove_all_but
    monkeypatch.setattr(old, "_remove_all_but", lambda named: (new.pull(other), remove(named)))
    with pytest.raises(Superseded):
        old.push(lost, 4, ended=False)
    assert (other / "weights/last.pt").read_text() == "4"
    RunStore(url, 3).pull(third := machine("three"))
    assert (third / "weights/last.pt").read_text() == "4"


def test_a_machine_keeps_its_files_while_no_other_has_had_the_run(url, machine):
    folder = machine("one", weights__last_pt="3")
    store = RunStore(url, 1)
    store.pull(folder)
    store.push(folder, 3, ended=False)
    machine("one", weights__last_pt="4")  # not pushed any more: the process was killed
    RunStore(url, 2).pull(folder)
    assert (folder / "weights/last.pt").read_text() == "4"


def test_files_that_another_machine_has_left_behind_are_replaced(url, machine):
    one, two = machine("one", weights__last_pt="3"), machine("two")
    store = RunStore(url, 1)
    store.pull(one)
    store.push(one, 3, ended=False)
    machine("one", weights__last_pt="4", weights__stray_pt="x")
    RunStore(url, 2).pull(two)
    machine("two", weights__last_pt="5")
    RunStore(url, 2).push(two, 5, ended=False)
    RunStore(url, 3).pull(one)
    assert (one / "weights/last.pt").read_text() == "5"
    assert names(one) == {"weights/last.pt"}


def test_an_attempt_that_starts_twice_keeps_what_it_has_pushed(url, machine):
    folder = machine("one", weights__last_pt="3")
    store = RunStore(url, 1)
    store.pull(folder)
    store.push(folder, 3, ended=False)
    RunStore(url, 1).pull(machine("two"))
    RunStore(url, 2).pull(three := machine("three"))
    assert (three / "weights/last.pt").read_text() == "3"


@ON_BOTH
def test_only_the_files_of_the_last_push_stay(url, machine):
    folder = machine("one")
    store = RunStore(url, 1)
    store.pull(folder)
    for epoch in (1, 2, 3):
        machine("one", weights__last_pt=str(epoch), weights__previous_pt=str(epoch - 1), records="x")
        store.push(folder, epoch, ended=epoch == 3)
    assert len(store._folder.names(OBJECTS)) == 3
    assert store._folder.names() == {OBJECTS, manifest_name(1)}
    manifest = decode_manifest(store._folder.read(manifest_name(1)))
    assert (manifest.epoch, manifest.ended) == (3, True)


@ON_BOTH
def test_a_damaged_object_is_left_out_and_pushed_again(url, machine, caplog):
    folder = machine("one", weights__last_pt="3", weights__previous_pt="2")
    store = RunStore(url, 1)
    store.pull(folder)
    store.push(folder, 3, ended=False)
    digest = decode_manifest(store._folder.read(manifest_name(1))).files["weights/last.pt"]
    store._folder.write(f"{OBJECTS}/{digest}", b"cut sh")
    with caplog.at_level(logging.WARNING):
        again = RunStore(url, 2)
        again.pull(two := machine("two"))
    assert names(two) == {"weights/previous.pt"}, "the checkpoints fall back to the one before"
    assert "last.pt in the store does not match its checksum" in caplog.text
    machine("two", weights__last_pt="3")
    again.push(two, 3, ended=False)
    RunStore(url, 3).pull(three := machine("three"))
    assert (three / "weights/last.pt").read_text() == "3"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 1}'])
def test_a_damaged_manifest_is_ignored_in_favour_of_the_previous_one(url, machine, damage):
    folder = machine("one", weights__last_pt="3")
    store = RunStore(url, 1)
    store.pull(folder)
    store.push(folder, 3, ended=False)
    store._folder.write(manifest_name(2), damage)
    RunStore(url, 3).pull(two := machine("two"))
    assert (two / "weights/last.pt").read_text() == "3"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "weights/../../evil", ".evil", "a/b/c/d/e", "a\\n", ""])
def test_a_hostile_manifest_writes_nothing_outside_the_folder(url, machine, name, tmp_path):
    store = RunStore(url, 1)
    digest = "0" * 64
    store._folder.write(f"{OBJECTS}/{digest}", b"evil")
    body = {"format": 1, "attempt": 1, "epoch": 1, "ended": True, "files": {name: digest}}
    store._folder.write(manifest_name(1), json.dumps(body).encode())
    before = set(tmp_path.iterdir())
    RunStore(url, 2).pull(folder := machine("one"))
    assert names(folder) == set()
    assert set(tmp_path.iterdir()) - before == {folder}


def test_files_that_matter_only_on_one_machine_are_not_stored(machine):
    folder = machine("one", weights__last_pt="3", records="x")
    for name in (".attempt", "data.tmp", "trainer.lock", "stacks/1.txt", ".push/1/records"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "link").symlink_to("/etc/passwd")
    assert names(folder) == {"weights/last.pt", "records"}
