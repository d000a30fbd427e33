"""A run's folder and its store while it trains: pushes in parallel to training, one at a time, with retries."""

import os
import signal
import time
from pathlib import Path

import pytest

from trainer.artifacts.mirror import Mirror
from trainer.artifacts.run_store import RunStore
from trainer.exceptions import Superseded
from tuner.contract import EndRecord, Outcome, TrainRequest
from tuner.contract.artifacts import decode_manifest, manifest_name

COMPLETED = EndRecord(outcome=Outcome.COMPLETED)


@pytest.fixture
def make_mirror(tmp_path):
    """Return a function that makes the mirror of an attempt at one run, on a machine of this name."""
    made = []

    def make(machine, attempt):
        folder = tmp_path / machine
        folder.mkdir(exist_ok=True)
        request = TrainRequest(
            study="s",
            trial=0,
            params={},
            model="m",
            data="d",
            epochs=9,
            stop_epoch=9,
            validation_epochs=(9,),
            seed=0,
            devices=(),
            threads=1,
            directory=str(folder),
            shares_files=False,
            artifacts=str(tmp_path / "store" / "run"),
            attempt=attempt,
        )
        made.append(Mirror(request))
        return made[-1], folder

    yield make
    for mirror in made:
        mirror.close()


def manifest(tmp_path, attempt):
    file = tmp_path / "store" / "run" / manifest_name(attempt)
    return decode_manifest(file.read_bytes())


def test_a_run_that_ends_has_all_of_its_files_in_the_store(make_mirror, tmp_path):
    mirror, folder = make_mirror("one", 1)
    mirror.pull()
    for epoch in (1, 2, 3):
        (folder / "records.jsonl").write_text(str(epoch))
        mirror.push(epoch)
    (folder / "end.json").write_text("end")
    assert mirror.flush(COMPLETED, 3) == ""
    assert manifest(tmp_path, 1).ended
    assert set(manifest(tmp_path, 1).files) == {"records.jsonl", "end.json"}
    assert not list((folder / ".push").iterdir()), "nothing of the pushes is left"


def test_a_push_has_the_files_as_they_were_although_training_continues(make_mirror, tmp_path):
    mirror, folder = make_mirror("one", 1)
    mirror.pull()
    (folder / "weights").mkdir()
    (folder / "weights" / "last.pt").write_text("1")
    os.kill(mirror._process.pid, signal.SIGSTOP)
    mirror._push(1, ended=False)
    (folder / "weights" / "new").write_text("2")
    (folder / "weights" / "new").rename(folder / "weights" / "last.pt")
    os.kill(mirror._process.pid, signal.SIGCONT)
    assert mirror._await(time.monotonic() + 30)
    other, there = make_mirror("two", 2)
    other.pull()
    assert (there / "weights" / "last.pt").read_text() == "1"


def test_an_unavailable_store_delays_nothing_and_gets_the_newest_files_when_it_is_back(
    make_mirror, tmp_path, monkeypatch
):
    mirror, folder = make_mirror("one", 1)
    mirror.pull()
    store = tmp_path / "store"
    store.rename(tmp_path / "kept")
    (tmp_path / "file").write_text("no folder")
    store.symlink_to(tmp_path / "file")
    began = time.monotonic()
    for epoch in (1, 2, 3, 4):
        (folder / "records.jsonl").write_text(str(epoch))
        mirror.push(epoch)
    assert time.monotonic() - began < 20, "only the first failure is waited for"
    monkeypatch.setattr("trainer.artifacts.mirror._END_S", 0.0)
    assert mirror.flush(COMPLETED, 4).startswith(f"the artifact store '{store}/run' failed: NotADirectoryError")
    (tmp_path / "back").symlink_to(tmp_path / "kept")
    (tmp_path / "back").replace(store)  # in one step: a push in between would make a folder
    monkeypatch.setattr("trainer.artifacts.mirror._END_S", 60.0)
    assert mirror.flush(COMPLETED, 4) == ""
    assert manifest(tmp_path, 1).epoch == 4


def test_an_attempt_that_was_taken_over_ends(make_mirror, tmp_path):
    mirror, folder = make_mirror("one", 1)
    mirror.pull()
    RunStore(str(tmp_path / "store" / "run"), 2).pull(_made(tmp_path / "two"))
    (folder / "records.jsonl").write_text("1")
    mirror.push(1)
    with pytest.raises(Superseded):
        mirror.push(2)


def test_a_killed_process_that_pushes_is_replaced(make_mirror, tmp_path):
    mirror, folder = make_mirror("one", 1)
    mirror.pull()
    os.kill(mirror._process.pid, signal.SIGKILL)
    (folder / "records.jsonl").write_text("1")
    mirror.push(1)
    assert mirror.flush(COMPLETED, 1) == ""
    assert manifest(tmp_path, 1).epoch == 1


def test_a_request_to_end_that_reaches_the_whole_group_does_not_end_the_pushes(make_mirror, tmp_path):
    mirror, folder = make_mirror("one", 1)
    mirror.pull()
    os.kill(mirror._process.pid, signal.SIGTERM)
    (folder / "records.jsonl").write_text("1")
    assert mirror.flush(EndRecord(outcome=Outcome.STOPPED), 1) == ""


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
