"""Retry every run in one loop: a trial, a run of a comparison, a final run."""

import pytest

from tests.tuner.conftest import epoch
from tuner.contract import EndRecord, Outcome, StartedRecord
from tuner.study import FailedAttempt
from tuner.trials.attempts import Attempts, run_with_retries
from tuner.trials.retry_policy import MAX_RETRIES, Failure

LOST = EndRecord(outcome=Outcome.ERROR, message="killed", retryable=True)
HUNG = EndRecord(outcome=Outcome.HUNG, message="silent", retryable=True)
BUG = EndRecord(outcome=Outcome.ERROR, message="no such file")
DONE = EndRecord(outcome=Outcome.COMPLETED)


def played(*attempts):
    """Play these records as the attempts of a run. Return its end, and all records that were passed on."""
    left, heard = list(attempts), []

    def attempt(listen):
        *records, end = left.pop(0)
        for record in records:
            listen(record)
        return end

    end = run_with_retries(attempt, heard.append)
    assert left == [], "an attempt too few"
    return end, heard


def test_a_run_that_does_not_fail_is_attempted_once_and_its_records_are_passed_on():
    records = [StartedRecord(pid=1, device="CPU"), epoch(1), epoch(2)]
    assert played([*records, DONE]) == (DONE, records)


@pytest.mark.parametrize(("end", "retries"), [(LOST, 2), (HUNG, 1), (BUG, 0)])
def test_a_run_is_retried_as_often_as_the_table_says(end, retries):
    assert played(*[[end]] * (retries + 1)) == (end, [])


def test_an_epoch_trained_between_two_failures_starts_the_count_again():
    end, _ = played(
        [epoch(1), LOST], [LOST], [epoch(1), epoch(2), LOST], [LOST], [epoch(1), epoch(2), epoch(3), LOST], [DONE]
    )
    assert end == DONE


def test_repeated_epochs_are_not_progress():
    end, _ = played([epoch(1), epoch(2), LOST], [LOST], [epoch(1), epoch(2), LOST])
    assert end == LOST


def test_only_an_epoch_that_no_attempt_has_trained_is_passed_on():
    attempts = Attempts()
    assert [attempts.note_epoch(number) for number in (1, 2, 1, 2, 3)] == [True, True, False, False, True]


def test_attempts_under_another_driver_count():
    lost = FailedAttempt(failure=Failure.INFRASTRUCTURE, epoch=4, cause="killed")
    attempts = Attempts(failed=[lost] * MAX_RETRIES[Failure.INFRASTRUCTURE], reached=3)
    assert attempts.reached == 4
    assert not attempts.fail(Failure.INFRASTRUCTURE, "killed")
    assert attempts.note_epoch(5)
    assert attempts.fail(Failure.INFRASTRUCTURE, "killed")
