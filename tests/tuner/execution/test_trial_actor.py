"""Check what a slot needs besides its trainer."""

import time
from collections import Counter
from pathlib import Path

from tests.tuner.conftest import epoch
from tuner.contract import TRAIN_STEP, ProgressRecord
from tuner.execution.trial_actor import next_records

PROGRESS = ProgressRecord(step=TRAIN_STEP, done=1, total=9)


class Trainer:
    """Trainer that sends these records one by one, followed by progress."""

    is_busy = True

    def __init__(self, *records):
        self.records = list(records)

    def receive(self, timeout_s):
        time.sleep(0.01)
        return [self.records.pop(0) if self.records else PROGRESS]


def test_an_epoch_reaches_the_driver_at_once_with_the_progress_before_it():
    trainer = Trainer(PROGRESS, PROGRESS, epoch(1), epoch(2))
    assert next_records(trainer, 60.0) == [PROGRESS, PROGRESS, epoch(1)]
    assert next_records(trainer, 60.0) == [epoch(2)]


def test_progress_alone_reaches_the_driver_at_the_next_heartbeat():
    began_s = time.monotonic()
    assert set(next_records(Trainer(), 0.2)) == {PROGRESS}
    assert time.monotonic() - began_s >= 0.2


def test_a_slot_without_a_trial_does_not_wait():
    trainer = Trainer()
    trainer.is_busy = False
    assert next_records(trainer, 60.0) == []


def test_the_actor_of_a_slot_imports_no_library_of_tune_even_for_its_next_trials(arena):
    """Keep actors small: there are hundreds, and pyarrow alone takes as much as all the rest."""
    search = arena.start(epoch_seconds=0.2)

    def reused() -> set[int]:
        trials = Counter(event.get("ppid", 0) for event in arena.events("start"))
        return {actor for actor, number in trials.items() if number > 1}

    (actor, *_) = arena.wait_for(reused)
    mapped = Path(f"/proc/{actor}/maps").read_text()
    assert "/ray/_raylet" in mapped
    assert "/pandas/" not in mapped
    output, _ = search.communicate()
    assert search.returncode == 0, output
