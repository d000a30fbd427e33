"""The records that a restarted run sends again."""

from tests.tuner.conftest import epoch
from trainer.run_state.epoch_log import RecordLog, trim_results


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


def test_ultralytics_table_keeps_one_row_an_epoch_up_to_the_last(tmp_path):
    table = tmp_path / "results.csv"
    table.write_text("epoch,time,x\n1,5.0,a\n2,9.0,b\n3,12.0,c\n2,3.0,again\n4,7")
    trim_results(tmp_path, 3)
    assert table.read_text() == "epoch,time,x\n1,5.0,a\n2,9.0,b\n3,12.0,c\n"
    trim_results(tmp_path, 0)
    assert table.read_text() == "epoch,time,x\n"


def test_without_a_table_or_with_half_a_header_nothing_happens(tmp_path):
    trim_results(tmp_path, 3)
    (tmp_path / "results.csv").write_bytes(b"")
    trim_results(tmp_path, 3)
    assert (tmp_path / "results.csv").read_bytes() == b""
