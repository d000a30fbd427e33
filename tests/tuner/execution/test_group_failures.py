"""Choose the GPUs of a run after failures, which do not show the faulty GPU."""

from functools import partial

import pytest

from tuner.execution.group_failures import GroupFailures
from tuner.execution.slot_health import Place, SlotHealth
from tuner.training.gpu_count import gpus_for


def gpus(number, node="n"):
    return [Place(node, (str(gpu),)) for gpu in range(number)]


def names(group):
    return "".join(gpu for place in group for gpu in place.gpus)


def tried(there, batch, faulty, *, attempts=20):
    """Return the groups that a run tries until one works or none is left."""
    failures, found = GroupFailures(SlotHealth(len(there))), []
    while group := failures.chosen(there, partial(gpus_for, (batch,))):
        found.append(names(group))
        if not faulty & set(found[-1]):
            return found
        failures.note_failure(group)
        assert len(found) < attempts
    return [*found, "none"]


@pytest.mark.parametrize(
    ("number", "batch", "faulty", "expected"),
    [
        (1, 16, "0", ["0", "0", "none"]),
        (2, 16, "0", ["01", "01", "0", "1"]),
        (2, 16, "1", ["01", "01", "0"]),
        (4, 64, "2", ["0123", "0123", "01"]),
        (4, 64, "0", ["0123", "0123", "01", "23"]),
        (4, 64, "02", ["0123", "0123", "01", "23", "0", "1"]),
        (4, 64, "0123", ["0123", "0123", "01", "23", "0", "1", "2", "3", "none"]),
        (8, 64, "05", [*["01234567"] * 2, "0123", "4567", "01", "23"]),
    ],
)
def test_two_failures_halve_the_group_until_one_works(number, batch, faulty, expected):
    assert tried(gpus(number), batch, set(faulty)) == expected


@pytest.mark.parametrize(
    ("number", "batch", "faulty", "expected"),
    [(4, 16, "0", ["01", "23"]), (3, 16, "0", ["01", "02", "12"]), (8, 32, "1", ["0123", "4567"])],
)
def test_gpus_that_have_not_failed_come_first_in_the_same_number(number, batch, faulty, expected):
    assert tried(gpus(number), batch, set(faulty)) == expected


def test_the_number_of_attempts_in_a_row_is_limited():
    assert len(tried(gpus(8), 64, set("01234567"))) == 8 + 1


def test_an_epoch_clears_the_gpus_that_trained_it_and_no_others():
    there, number_for = gpus(4), partial(gpus_for, (64,))
    failures = GroupFailures(SlotHealth(4))
    for _ in range(2):
        failures.note_failure(there)
    failures.note_epoch(there[2:])
    assert names(failures.chosen(there, number_for)) == "23"
    failures.note_epoch(there)
    assert not failures.has_any
    assert names(failures.chosen(there, number_for)) == "0123"


def test_a_gpu_that_the_search_holds_is_left_out():
    there, health = gpus(4), SlotHealth(4)
    for run in range(2):
        health.note_failure(there[1], run)
    failures = GroupFailures(health)
    assert failures.has_any
    assert names(failures.chosen(there, partial(gpus_for, (64,)))) == "02"


def test_failures_count_by_machine():
    failures = GroupFailures(SlotHealth(4))
    failures.note_failure(gpus(2, "a"))
    assert (failures.of_node("a"), failures.of_node("b")) == (2, 0)
