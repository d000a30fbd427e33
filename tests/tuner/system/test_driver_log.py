"""Log all events in the study's folder, whatever the terminal shows, without affecting the run."""

import logging
import os
import re
import signal

import pytest

from tuner.exceptions import DataError
from tuner.system import driver_log as module
from tuner.system.driver_log import driver_log
from tuner.system.signals import Interrupted

logger = logging.getLogger("tuner")


@pytest.fixture(autouse=True)
def log_from_info():
    """Configure the log as the command does."""
    before = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(before)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "driver.log"


def messages(file):
    """Return each line without its time."""
    return [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", "", line) for line in file.read_text().splitlines()]


def test_start_events_and_end_are_logged_with_their_times(file):
    with driver_log(file):
        logger.info("trial 0 complete: mAP50-95 0.2500")
        logger.debug("not from INFO on")

    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO ", line) for line in file.read_text().splitlines())
    start, event, end = messages(file)
    assert start.startswith(f"INFO driver started: process {os.getpid()} on ")
    assert (event, end) == ("INFO trial 0 complete: mAP50-95 0.2500", "INFO driver ended: done")


def test_drivers_of_one_study_write_one_log(file):
    for _ in range(2):
        with driver_log(file):
            pass

    assert [line.split(":")[0] for line in messages(file)] == ["INFO driver started", "INFO driver ended"] * 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DataError("image 'a\nb.jpg' is cut off"), "INFO driver ended with exit code 4: image 'a\\nb.jpg' is cut off"),
        (Interrupted(signal.SIGTERM), f"INFO driver ended with exit code 143: {Interrupted(signal.SIGTERM)}"),
    ],
)
def test_an_expected_error_is_one_line_with_its_exit_code(file, error, told):
    with pytest.raises(type(error)), driver_log(file):
        raise error

    assert messages(file)[1:] == [told]


def test_an_internal_error_leaves_its_traceback(file):
    with pytest.raises(ZeroDivisionError), driver_log(file):
        _ = 1 / 0

    text = file.read_text()
    assert "ERROR driver ended with an internal error\nTraceback" in text
    assert text.endswith("ZeroDivisionError: division by zero\n")


def test_after_the_block_nothing_more_is_written(file):
    with driver_log(file):
        pass
    logger.info("later")

    assert not any("later" in line for line in messages(file))


def test_a_full_log_is_rotated_and_three_older_ones_stay(file, monkeypatch):
    monkeypatch.setattr(module, "_MAX_BYTES", 1000)
    with driver_log(file):
        for number in range(100):
            logger.info("trial %d %s", number, "x" * 80)

    assert sorted(path.name for path in file.parent.iterdir()) == [
        "driver.log", "driver.log.1", "driver.log.2", "driver.log.3",
    ]  # fmt: skip
    assert all(path.stat().st_size <= 1000 for path in file.parent.iterdir())
    assert "trial 99 " in file.read_text()


def test_an_unwritable_log_does_not_affect_the_run(tmp_path, capsys):
    (tmp_path / "driver.log").mkdir()
    with driver_log(tmp_path / "driver.log"):
        logger.info("trial 0 begins")

    assert capsys.readouterr() == ("", "")
