"""What a restarted run sends again."""

from tests.tuner.conftest import epoch
from trainer.records import RecordLog


def test_records_are_read_as_they_were_written(tmp_path):
    log = RecordLog(tmp_path)
    written = [epoch(1), epoch(2, 0.1)]
    for record in written:
        log.append(record)
    assert log.read() == tuple(written)


def test_a_folder_without_records_has_none(tmp_path):
    assert RecordLog(tmp_path).read() == ()


def test_epochs_that_the_checkpoint_does_not_have_are_forgotten(tmp_path):
    log = RecordLog(tmp_path)
    for number in (1, 2, 3):
        log.append(epoch(number))
    assert log.restore(2) == (epoch(1), epoch(2))
    log.append(epoch(3, 0.5))
    assert log.read() == (epoch(1), epoch(2), epoch(3, 0.5))


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path):
    log = RecordLog(tmp_path)
    log.append(epoch(1))
    log.append(epoch(2))
    path = tmp_path / "records.jsonl"
    path.write_text(path.read_text()[:-20])
    assert log.read() == (epoch(1),)
    assert log.restore(1) == (epoch(1),)
