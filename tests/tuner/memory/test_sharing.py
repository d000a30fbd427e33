"""Choose how many trials share a GPU: as many as fit and help, with few measurements."""

import pytest

from tuner.memory.sharing import chosen_sharing


def chosen(rates, *, room=99, wanted=99):
    """Return the choice, and the numbers of trials that were measured by memory and by speed."""
    by_memory, by_speed = [], []

    def fits(number):
        by_memory.append(number)
        return number <= room

    def images_per_s(number):
        by_speed.append(number)
        return rates[number]

    return chosen_sharing(fits, images_per_s, wanted=wanted), by_memory, by_speed


@pytest.mark.parametrize(
    ("rates", "number"),
    [
        ({1: 100.0, 2: 114.0}, 1),
        ({1: 100.0, 2: 115.0, 4: 130.0}, 2),
        ({1: 100.0, 2: 190.0, 4: 218.0}, 2),
        ({1: 100.0, 2: 190.0, 4: 219.0}, 4),
        ({1: 100.0, 2: 200.0, 4: 400.0}, 4),
        ({1: 100.0, 2: 80.0}, 1),
        ({1: 100.0, 2: None}, 1),
        ({1: 100.0, 2: 190.0, 4: None}, 2),
    ],
)
def test_the_number_doubles_while_more_together_train_at_least_a_seventh_more(rates, number):
    found, _, by_speed = chosen(rates)
    assert found.trials_per_gpu == number
    assert by_speed == list(rates), "nothing is measured twice or for nothing"
    assert dict(found.rates) == rates


def test_no_time_is_measured_if_the_largest_sizes_do_not_fit_twice():
    found, by_memory, by_speed = chosen({}, room=1)
    assert (found.trials_per_gpu, by_memory, by_speed) == (1, [2], [])
    assert found.why == "the largest batch and image size do not fit into 1/2 of its memory"


def test_memory_limits_the_number_even_if_more_would_be_faster():
    found, by_memory, by_speed = chosen({1: 100.0, 2: 200.0}, room=2)
    assert (found.trials_per_gpu, by_memory, by_speed) == (2, [2, 4], [1, 2])


@pytest.mark.parametrize(("wanted", "number", "measured"), [(1, 1, []), (3, 2, [1, 2]), (4, 4, [1, 2, 4])])
def test_no_more_trials_are_measured_than_the_run_can_use(wanted, number, measured):
    found, _, by_speed = chosen({1: 100.0, 2: 200.0, 4: 400.0}, wanted=wanted)
    assert (found.trials_per_gpu, by_speed) == (number, measured)


def test_the_reason_names_what_was_measured():
    found, *_ = chosen({1: 100.0, 2: 107.0})
    assert found.why == "2 train 1.07 times as many images per second, less than 1.15 times"
