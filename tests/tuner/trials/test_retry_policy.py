"""Decide about each kind of failure by the table."""

import pytest

from tuner.contract import EndRecord, Outcome
from tuner.study import FailedAttempt
from tuner.trials.retry_policy import (
    MAX_RETRIES,
    Failure,
    failure_of,
    is_retried,
    normalised_cause,
    what_helps,
)

LOST = EndRecord(outcome=Outcome.ERROR, message="the trainer was killed by SIGKILL", retryable=True)
HUNG = EndRecord(outcome=Outcome.HUNG, message="no sign of life for 700 s after epoch 3", retryable=True)
BUG = EndRecord(outcome=Outcome.ERROR, message="no such file")


@pytest.mark.parametrize(
    ("end", "helps"),
    [
        (LOST, True),
        (HUNG, True),
        (BUG, False),
        (EndRecord(outcome=Outcome.OUT_OF_MEMORY, message="no room"), False),
        (EndRecord(outcome=Outcome.BAD_DATA, message="no image"), False),
        (EndRecord(outcome=Outcome.BAD_MODEL, message="no layer"), False),
        (EndRecord(outcome=Outcome.DIVERGED, message="NaN"), False),
    ],
)
def test_a_command_to_resume_is_proposed_only_for_temporary_problems(end, helps):
    said = what_helps(end, "The same command")
    assert ("The same command resumes it" in said) == helps
    assert ("would fail again with the same error" in said) != helps


def failed_attempts(text):
    """Parse failed attempts from a text such as "i0 h0 i3": infrastructure or hung, and the epoch."""
    kinds = {"i": Failure.INFRASTRUCTURE, "h": Failure.HUNG, "o": Failure.OUT_OF_MEMORY, "b": Failure.BUG}
    return [FailedAttempt(failure=kinds[word[0]], epoch=int(word[1:]), cause="why") for word in text.split()]


@pytest.mark.parametrize(
    ("end", "failure"),
    [
        (EndRecord(outcome=Outcome.COMPLETED), None),
        (EndRecord(outcome=Outcome.STOPPED), None),
        (EndRecord(outcome=Outcome.DIVERGED), None),
        (LOST, Failure.INFRASTRUCTURE),
        (BUG, Failure.BUG),
        (HUNG, Failure.HUNG),
        (EndRecord(outcome=Outcome.OUT_OF_MEMORY, retryable=True), Failure.OUT_OF_MEMORY),
        (EndRecord(outcome=Outcome.BAD_DATA), Failure.BAD_DATA),
        (EndRecord(outcome=Outcome.BAD_MODEL), Failure.BUG),
    ],
    ids=lambda value: getattr(value, "outcome", ""),
)
def test_every_end_is_either_no_failure_or_of_one_kind(end, failure):
    assert failure_of(end) == failure


def test_every_kind_of_failure_has_its_number_of_retries():
    assert MAX_RETRIES.keys() == set(Failure)


@pytest.mark.parametrize("failure", Failure)
def test_a_trial_is_tried_again_as_often_as_the_table_says(failure):
    in_a_row = [FailedAttempt(failure=failure, epoch=0, cause="why")] * (MAX_RETRIES[failure] + 1)
    assert not is_retried(in_a_row)
    assert all(is_retried(in_a_row[:number]) for number in range(1, len(in_a_row)))


@pytest.mark.parametrize(
    ("history", "continues"),
    [
        ("i0 i0", True),
        ("i0 i0 i0", False),
        ("i0 i0 i1", True),
        ("i1 i2 i3 i4 i5 i6", True),
        ("i0 i0 i1 i1 i1", False),
        ("h3", True),
        ("h3 h3", False),
        ("h3 h4", True),
        ("h3 i3", True),
        ("h3 i3 h3", False),
        ("i3 h3 i3 i3", False),
        ("i0 o0", False),
        ("i0 b0", False),
    ],
)
def test_an_epoch_between_two_failures_restarts_the_count_and_another_failure_does_not(history, continues):
    assert is_retried(failed_attempts(history)) == continues


def test_causes_that_differ_only_in_numbers_are_the_same():
    assert normalised_cause("error: batch 12, 0x7f3a2b at 3.5") == normalised_cause("error: batch 7, 0xdead at 10.25")
    assert normalised_cause("error: no such file") != normalised_cause("error: no space left")
