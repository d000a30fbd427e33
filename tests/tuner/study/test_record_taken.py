"""Remove the record under a running driver: the run reports it, and the next run has everything that it knew."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from tests.tuner.conftest import driven
from tuner.exceptions import RecordRemovedError
from tuner.storage.urls import sqlite_url
from tuner.study import StudyPaths, TrialFacts
from tuner.study._witness import Witness


class Drive:
    """Driver from start to end."""

    def __init__(self, url, spec, paths, on_event=lambda line: None):
        self.arguments = (url, spec, paths)
        self.on_event = on_event

    def __call__(self, act):
        with driven(*self.arguments, on_event=self.on_event) as self.study:
            act(self.study)


def began(study, space, backup=None):
    """Store four trials in the database: complete, stopped early, paused, and in training.

    The backup is from the time when only the first one existed, and was running.
    """
    study.propose(RandomSampler(seed=0), space)
    study.flush(30)
    if backup is not None:
        with closing(sqlite3.connect(backup)) as target, closing(sqlite3.connect(study._url[10:])) as source:
            source.backup(target)
    for _ in range(3):
        study.propose(RandomSampler(seed=0), space)
    study.record(0, TrialFacts(directory=str(study._folder / "trials/0000")))
    study.record_epoch(0, 3, 0.1)
    study.finish(0, TrialState.COMPLETE, value=0.25, facts=TrialFacts(epochs=9, metrics={"mAP50": 0.5}))
    study.finish(1, TrialState.PRUNED, reason="early stop", curve={3: 0.05})
    study.pause(2, 3, 0.08)
    study.note_searched(12.5)
    study.flush(30)


def known(study):
    """Return everything that must not be lost. Trials in training wait for the next driver."""
    trials = [(t.number, t.state, t.value, t.curve, t.sampled, t.params, t.reason) for t in study.trials()]
    return repr(trials), study.searched_s, study.trials()[0].facts.metrics


def remove(paths, backup):
    paths.database.unlink()


def remove_all_of_it(paths, backup):
    for file in paths.root.glob("study.db*"):
        file.unlink()


def restore_backup(paths, backup):
    Path(shutil.copy(backup, f"{backup}.new")).replace(paths.database)


def remove_log(paths, backup):
    paths.database.with_name("study.db-wal").unlink()


def remove_journal(paths, backup):
    paths.journal.unlink()


def replace_journal(paths, backup):
    paths.journal.rename(paths.root / "elsewhere.jsonl")
    paths.journal.write_text("")


def remove_folder(paths, backup):
    shutil.rmtree(paths.root)


@pytest.mark.parametrize(
    ("take", "told"),
    [
        (remove, "study.db' was removed"),
        (remove_all_of_it, "study.db' was removed"),
        (restore_backup, "study.db' was replaced by another"),
        (remove_log, "study.db-wal' was removed"),
        (remove_journal, "journal.jsonl' was removed"),
        (replace_journal, "journal.jsonl' was replaced by another"),
        (remove_folder, "s' was removed"),
    ],
)
def test_a_run_reports_a_removed_part_of_its_record_and_the_next_run_has_the_whole_record(
    take, told, url, spec, space, paths, tmp_path
):
    lines, backup = [], tmp_path / "backup.db"
    drive = Drive(url, spec, paths, lines.append)
    with pytest.raises(RecordRemovedError) as caught:
        drive(
            lambda study: (began(study, space, backup), take(paths, backup), study.record(3, TrialFacts(device="CPU")))
        )
    assert told in str(caught.value)
    assert lines[-1] == (
        f"the complete state of the study is saved in '{paths.journal}': the next run there writes it to the database"
    )
    paths.create()
    with driven(url, spec, paths) as again:
        assert known(again) == known(drive.study)
        assert paths.journal.read_bytes() == b""
        again.finish(3, TrialState.COMPLETE, value=0.3)


def test_a_study_that_is_moved_while_it_runs_is_whole_in_its_new_place(url, spec, space, paths, tmp_path):
    moved, lines = StudyPaths(tmp_path / "moved" / "s"), []
    moved.root.parent.mkdir()
    drive = Drive(url, spec, paths, lines.append)
    with pytest.raises(RecordRemovedError, match=f"moved to '{moved.root}'"):
        drive(
            lambda study: (
                began(study, space),
                paths.root.rename(moved.root),
                study.record(3, TrialFacts(device="CPU")),
            )
        )
    assert str(moved.journal) in lines[-1]
    assert not paths.root.exists(), "nothing is left in the old place"
    with driven(sqlite_url(moved.database), spec, moved) as again:
        assert known(again) == known(drive.study)
        assert again.trials()[0].facts.directory == str(moved.root / "trials/0000")


@pytest.mark.parametrize("notice", [lambda study: study.check(), lambda study: study.flush(10), lambda study: None])
def test_a_record_removed_after_the_last_change_is_noticed_at_the_end_at_the_latest(notice, url, spec, space, paths):
    drive = Drive(url, spec, paths)
    with pytest.raises(RecordRemovedError):
        drive(lambda study: (began(study, space), remove_all_of_it(paths, None), notice(study)))
    with driven(url, spec, paths) as again:
        assert known(again) == known(drive.study)


def test_a_home_that_is_a_link_and_readers_of_the_database_are_no_reason_to_stop(spec, space, tmp_path, url):
    (tmp_path / "link").symlink_to(tmp_path)
    linked = StudyPaths.of(tmp_path / "link", "s")
    with driven(sqlite_url(linked.database), spec, linked) as study:
        began(study, space)
        for _ in range(2):  # each opens and closes the database
            with sqlite3.connect(linked.database) as reader:
                reader.execute("select count(*) from trials").fetchone()
            reader.close()
            study.record(3, TrialFacts(device="CPU"))
            study.flush(30)
    with driven(sqlite_url(linked.database), spec, linked) as again:
        assert again.trial(3).facts.device == "CPU"


def test_a_file_that_cannot_be_checked_is_not_reported_as_removed(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    witness = Witness(tmp_path, [file])
    assert witness.taken() is None

    def stale(path, **options):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(type(file), "stat", stale)
    assert witness.taken() is None
    monkeypatch.undo()
    file.unlink()
    assert witness.taken() == f"'{file}' was removed"
    file.touch()
    assert witness.taken() == f"'{file}' was replaced by another"
    witness.close()


def test_a_folder_that_is_moved_during_the_check_is_reported_as_moved(tmp_path, monkeypatch):
    folder, file = tmp_path / "s", tmp_path / "s" / "file"
    folder.mkdir()
    file.touch()
    witness = Witness(folder, [file])
    look = type(file).stat

    def moved_first(path, **options):
        if path == file and folder.exists():
            folder.rename(tmp_path / "t")
        return look(path, **options)

    monkeypatch.setattr(type(file), "stat", moved_first)
    assert witness.taken() == f"the study's folder '{folder}' was moved to '{tmp_path / 't'}'"
    witness.close()
