"""Hold slots that fail, and keep runs away from the slot on which they failed."""

import pytest

from tuner.execution.slot_health import Place, SlotHealth

ONE, OTHER, THIRD = (Place("n", (gpu,)) for gpu in "012")
CPU = Place("n", ())


@pytest.fixture
def health():
    return SlotHealth(3)


def fail(health, place, number):
    health.note_run(place, number)
    health.note_failure(place, number)


def test_only_a_slot_on_which_two_runs_fail_in_a_row_is_held(health):
    fail(health, ONE, 1)
    assert not health.is_held(ONE)
    fail(health, ONE, 2)
    assert health.is_held(ONE)
    assert not health.is_held(OTHER)


def test_an_epoch_between_two_failures_shows_that_the_slot_works(health):
    fail(health, ONE, 1)
    health.note_epoch(ONE)
    fail(health, ONE, 2)
    assert not health.is_held(ONE)


def test_epochs_on_other_slots_say_nothing_about_it(health):
    fail(health, ONE, 1)
    health.note_epoch(OTHER)
    fail(health, ONE, 2)
    assert health.is_held(ONE)


def test_the_same_index_on_another_machine_is_another_gpu(health):
    fail(health, ONE, 1)
    fail(health, Place("m", ONE.gpus), 2)
    assert not health.is_held(ONE)


def test_failures_on_different_slots_hold_none(health):
    for number, place in enumerate((ONE, OTHER, THIRD)):
        fail(health, place, number)
    assert not any(map(health.is_held, (ONE, OTHER, THIRD)))


def test_when_all_slots_fail_none_is_held_because_they_are_not_the_cause(health):
    for number, place in enumerate((ONE, ONE, OTHER, OTHER, THIRD, THIRD)):
        fail(health, place, number)
    assert not any(map(health.is_held, (ONE, OTHER, THIRD)))
    fail(health, ONE, 9)
    assert not health.is_held(ONE), "its failures are counted from the beginning"


def test_neighbours_that_fail_on_one_gpu_hold_it_and_do_not_count_as_two_gpus():
    """Use two GPUs with two slots each: all slots of one fail, and the other GPU trains."""
    health = SlotHealth(2)
    health.note_run(ONE, 1)
    health.note_run(ONE, 2)
    health.note_failure(ONE, 1)
    health.note_failure(ONE, 2)
    assert health.is_held(ONE)
    fail(health, OTHER, 3)
    health.note_epoch(OTHER)
    assert health.is_held(ONE)


def test_when_all_gpus_fail_none_is_held_however_many_slots_they_have():
    health = SlotHealth(2)
    for number, place in enumerate((ONE, ONE, OTHER, OTHER)):
        fail(health, place, number)
    assert not any(map(health.is_held, (ONE, OTHER)))


def test_a_neighbour_that_trained_on_before_a_failure_does_not_end_the_avoidance_of_its_run(health):
    health.note_run(ONE, 8)
    fail(health, ONE, 7)
    assert health.avoided == {7}
    health.note_run(ONE, 9)
    assert health.avoided == frozenset()


def test_a_run_that_fails_before_it_says_that_it_has_started_is_the_last_one_on_its_slot(health):
    health.note_failure(ONE, 7)
    health.note_epoch(ONE)
    health.note_failure(ONE, 8)
    assert health.avoided == {8}


def test_the_only_slot_is_never_held():
    health = SlotHealth(1)
    fail(health, ONE, 1)
    fail(health, ONE, 2)
    assert not health.is_held(ONE)


def test_slots_on_a_cpu_are_never_held(health):
    fail(health, CPU, 1)
    fail(health, CPU, 2)
    assert not health.is_held(CPU)
    assert health.avoided == frozenset()


def test_a_slot_that_was_held_and_trains_again_is_free(health):
    fail(health, ONE, 1)
    fail(health, ONE, 2)
    health.note_epoch(ONE)
    assert not health.is_held(ONE)


def test_a_run_is_avoided_from_its_failure_until_its_slot_has_another(health):
    fail(health, ONE, 7)
    assert health.avoided == {7}
    health.note_run(OTHER, 8)
    assert health.avoided == {7}
    health.note_run(ONE, 9)
    assert health.avoided == frozenset()


def test_runs_that_failed_on_a_slot_that_is_held_are_not_avoided_elsewhere(health):
    fail(health, ONE, 7)
    fail(health, ONE, 8)
    assert health.is_held(ONE)
    assert health.avoided == frozenset()


def test_it_is_known_whether_any_slot_is_held(health):
    assert not health.holds_any
    fail(health, ONE, 1)
    fail(health, ONE, 2)
    assert health.holds_any


def test_a_run_that_started_again_is_no_longer_avoided(health):
    fail(health, ONE, 7)
    health.note_run(OTHER, 7)
    assert health.avoided == frozenset()
