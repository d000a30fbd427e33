"""Summarise the failures of a search."""

from tests.tuner.conftest import play
from tuner.contract import EndRecord, Outcome
from tuner.search.summary import failures_by_cause


def test_failures_are_counted_by_cause_and_other_ends_are_not(search):
    for message in ("no such file", "no space left", "no such file"):
        search.report(search.suggest().trial, EndRecord(outcome=Outcome.ERROR, message=message))
    search.report(search.suggest().trial, EndRecord(outcome=Outcome.DIVERGED, message="NaN"))
    play(search, search.suggest(), 0.1, 0.2)
    assert failures_by_cause(search.trials) == {"error: no such file": 2, "error: no space left": 1}
