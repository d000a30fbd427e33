"""The rules for when a run has diverged."""

import math

import pytest

from trainer.run_state.divergence import EXPLOSION_FACTOR, LossWatch


def after(*losses):
    watch = LossWatch()
    verdicts = [watch.verdict(loss) for loss in losses]
    assert not any(verdicts[:-1])
    return verdicts[-1]


@pytest.mark.parametrize(("loss", "said"), [(math.nan, "NaN"), (math.inf, "infinite"), (-math.inf, "infinite")])
def test_a_loss_that_is_not_a_number_ends_the_run_at_once(loss, said):
    assert said in after(loss)


def test_one_loss_that_is_not_a_number_passes_if_its_step_is_skipped_and_five_in_a_row_do_not():
    watch = LossWatch()
    losses = [1.0, math.nan, 1.0, math.inf, math.nan, math.inf, math.nan]
    assert [watch.verdict(loss, skips_overflows=True) for loss in losses] == [None] * len(losses)
    assert watch.overflows == 4
    assert watch.verdict(math.nan, skips_overflows=True) == "the loss became NaN in 5 batches in a row"


def test_a_loss_that_is_skipped_is_not_part_of_the_reference():
    watch = LossWatch()
    for loss in (math.inf, *[10.0] * 10):
        assert watch.verdict(loss, skips_overflows=True) is None
    assert watch.overflows == 0
    assert watch.verdict(10.0 * EXPLOSION_FACTOR * 1.01, skips_overflows=True).startswith("the loss exploded")


def test_a_loss_far_above_the_start_has_exploded():
    assert after(*[10.0] * 10, 10.0 * EXPLOSION_FACTOR * 1.01).startswith("the loss exploded")


def test_a_loss_somewhat_above_the_start_has_not_exploded():
    assert after(*[10.0] * 10, 10.0 * EXPLOSION_FACTOR * 0.99) is None


def test_a_batch_without_objects_at_the_start_raises_no_false_alarm():
    assert after(0.001, *[10.0] * 9, 12.0, 9.0) is None


def test_a_falling_loss_is_fine():
    assert after(*[100.0 / (n + 1) for n in range(50)]) is None
