"""Find the largest batch that fits, by measuring."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.exceptions import SpaceError
from tuner.memory.batch_size import MOST, SHARE, fitting_batch


def machine(total: float, base: float, per_item: float, bend: float = 0.0) -> Callable[[int], float | None]:
    """Return a function for the memory of a batch: linear, or curved upwards; None if the batch does not fit."""

    def measure(batch: int) -> float | None:
        used = base + per_item * batch + bend * batch * batch
        return used if used <= total else None

    return measure


def test_linear_memory_takes_three_measurements():
    fit = fitting_batch(machine(24, 2.0, 0.5), memory_gib=24, most=MOST)
    assert fit.batch == 32  # 39 fit into 0.9 x 24 = 21.6 GiB
    assert fit.memory_gib == 18.0
    assert [batch for batch, _ in fit.measured] == [4, 8, 32]


def test_the_batch_is_no_larger_than_useful():
    assert fitting_batch(machine(80, 2.0, 0.1), memory_gib=80, most=MOST).batch == MOST
    assert fitting_batch(machine(80, 2.0, 0.1), memory_gib=80, most=20).batch == 16
    assert fitting_batch(machine(80, 2.0, 0.1), memory_gib=80, most=3).batch == 3
    assert fitting_batch(machine(80, 2.0, 0.0), memory_gib=80, most=MOST).batch == MOST


def test_nonlinear_memory_is_measured_again():
    fit = fitting_batch(machine(24, 2.0, 0.2, bend=0.01), memory_gib=24, most=MOST)
    assert fit.batch == 32
    assert len(fit.measured) <= 6


@pytest.mark.parametrize(("per_item", "batch"), [(10.0, 1), (5.0, 2), (3.0, 4)])
def test_a_small_batch_is_chosen_if_little_fits(per_item, batch):
    assert fitting_batch(machine(16, 1.0, per_item), memory_gib=16, most=MOST).batch == batch


def test_an_error_says_that_nothing_fits():
    with pytest.raises(SpaceError, match="A batch of 1 must fit into memory"):
        fitting_batch(machine(8, 7.5, 1.0), memory_gib=8, most=MOST)


@given(
    total=st.floats(1, 200),
    base=st.floats(0, 50),
    per_item=st.floats(0, 20),
    bend=st.floats(0, 1),
    most=st.integers(1, MOST),
)
def test_the_chosen_batch_always_fits_and_has_been_measured(total, base, per_item, bend, most):
    measure = machine(total, base, per_item, bend)
    try:
        fit = fitting_batch(measure, memory_gib=total, most=most)
    except SpaceError:
        used = measure(1)
        assert used is None or used > SHARE * total
        return
    assert 1 <= fit.batch <= most
    assert dict(fit.measured)[fit.batch] == fit.memory_gib <= SHARE * total
    assert len(fit.measured) <= 8
