"""Judge a slot by the records of its run."""

from types import SimpleNamespace

import pytest

from tests.tuner.conftest import epoch
from tuner.contract import EndRecord, Outcome, StartedRecord
from tuner.execution.ray_search import _Driver
from tuner.execution.slot_health import Place, SlotHealth
from tuner.trials.attempts import Attempts
from tuner.trials.live import LiveTrial

LOST = EndRecord(outcome=Outcome.ERROR, message="CUDA error: GPU is lost", retryable=True)
PLACE = Place("n", ("0",))


@pytest.mark.parametrize(("trained", "is_held"), [(3, True), (4, False)])
def test_only_an_epoch_that_is_trained_there_shows_that_a_slot_works(trained, is_held):
    """Ignore epochs before the checkpoint, which a resumed trainer sends again."""
    health, told = SlotHealth(2), []
    live = {number: LiveTrial(number=number, attempts=Attempts(reached=3), earlier_epochs=3) for number in (1, 2)}
    terms = SimpleNamespace(health=health, on_event=told.append)
    driver = _Driver(SimpleNamespace(live=live), None, terms, lambda: None)
    for number in live:
        resent = [epoch(each) for each in range(1, trained + 1)]
        for record in (StartedRecord(pid=1, device="A"), *resent, LOST):
            driver.judge_slot(PLACE, number, record, {"node_ip": "192.0.2.2"})
    assert health.is_held(PLACE) == is_held
    assert len(told) == is_held
