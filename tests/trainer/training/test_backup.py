"""Copies of weights in a second place: complete, in parallel to training, and never at its expense."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import hear_all
from trainer.exceptions import TrainerError
from trainer.training.backup import Backup, copy_all
from tuner.contract import Outcome


def test_files_are_copied_whole_by_path_and_by_url(tmp_path):
    source = tmp_path / "last.pt"
    source.write_bytes(b"new")
    for number, url in enumerate((str(tmp_path / "by path/a"), f"file://{tmp_path}/by-url/a")):
        folder = Path(url.removeprefix("file://"))
        copy_all(url, [source])
        assert (folder / "last.pt").read_bytes() == b"new"
        (folder / "last.pt").write_bytes(b"old")
        copy_all(url, [source])
        assert [path.name for path in folder.iterdir()] == ["last.pt"], number


def test_a_probe_leaves_nothing(tmp_path):
    Backup(str(tmp_path / "there")).probe()
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("url", ["/proc/backup", "nowhere://bucket/runs"])
def test_a_place_that_cannot_be_written_is_reported_in_one_line(url):
    with pytest.raises(
        TrainerError, match=r"the backup to '.*' failed: .*; choose another place with --backup\."
    ) as told:
        Backup(url).probe()
    assert len(str(told.value).splitlines()) == 1


def test_missing_files_are_left_out_and_the_end_waits_for_the_copy(tmp_path):
    (tmp_path / "last.pt").write_bytes(b"x" * 1_000_000)
    backup = Backup(str(tmp_path / "there"))
    backup.copy([tmp_path / "last.pt", tmp_path / "best.pt"])
    backup.close([tmp_path / "last.pt", tmp_path / "best.pt"])
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["last.pt"]
    assert backup.problem == ""


def test_a_place_that_becomes_unavailable_costs_a_note_and_no_training(tmp_path):
    (tmp_path / "last.pt").write_bytes(b"x")
    backup = Backup(str(tmp_path / "there"))
    backup.probe()
    (tmp_path / "there").rmdir()
    (tmp_path / "there").write_text("a file now")
    backup.copy([tmp_path / "last.pt"])
    backup.close([tmp_path / "last.pt"])
    assert backup.problem.startswith(f"the backup to '{tmp_path}/there' failed: ")


def test_copies_are_not_made_faster_than_one_after_the_other(tmp_path, monkeypatch):
    backup = Backup(str(tmp_path / "there"))
    (tmp_path / "last.pt").write_bytes(b"x")
    started = []
    start = backup._start
    monkeypatch.setattr(backup, "_start", lambda files: (started.append(files), start(files)))
    backup.copy([tmp_path / "last.pt"])
    backup.copy([tmp_path / "last.pt"])
    backup._running.wait(30)
    backup.copy([tmp_path / "last.pt"])
    backup.close([])
    assert len(started) == 3, "the second was left out; the last is that of the end"


@pytest.mark.slow
def test_a_full_run_leaves_its_weights_in_both_places(trainer, train_request, tmp_path):
    request = train_request(epochs=2, full=True, validation_epochs=(1, 2), save_period=1)
    trainer.send(replace(request, backup=str(tmp_path / "elsewhere")))
    end = hear_all(trainer)[-1]
    assert (end.outcome, end.message) == (Outcome.COMPLETED, "")
    for name in ("best.pt", "last.pt"):
        assert (tmp_path / "elsewhere" / name).read_bytes() == (Path(request.directory) / "weights" / name).read_bytes()
    assert (tmp_path / "elsewhere/results.csv").is_file()


def test_a_full_run_with_nowhere_to_copy_to_does_not_start(trainer, train_request):
    trainer.send(replace(train_request(epochs=2, full=True), backup="/proc/none"))
    records = hear_all(trainer)
    assert records[-1].outcome == Outcome.ERROR
    assert "the backup to '/proc/none' failed" in records[-1].message
    assert len(records) == 2, "started, end"
