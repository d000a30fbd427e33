"""Limit the silence of a trainer."""

import pytest

from tuner.execution.watchdog import HangTimeouts, Watch

PATIENCE = HangTimeouts(start_s=100.0, least_s=10.0, factor=5.0, epoch_s=0.0)


@pytest.mark.parametrize(
    ("others_s", "own_s", "bound_s"),
    [
        (0.0, [], 100.0),  # nothing is known: the limit of the start
        (1.0, [], 100.0),
        (30.0, [], 150.0),  # the first epoch may take as long as those of others, and more
        (0.0, [1.0], 10.0),  # however short the epochs are
        (0.0, [4.0], 20.0),
        (0.0, [4.0, 4.0, 60.0], 20.0),  # one long epoch changes little
        (7.0, [4.0], 35.0),  # the longer of both
        (3.0, [4.0], 20.0),
    ],
)
def test_the_bound_follows_the_epochs(others_s, own_s, bound_s):
    timeouts = HangTimeouts(start_s=100.0, least_s=10.0, factor=5.0, epoch_s=others_s)
    assert timeouts.bound_s(own_s) == bound_s


def test_silence_up_to_the_bound_is_accepted_and_longer_silence_is_not():
    watch = Watch(PATIENCE, now_s=1000.0)
    assert watch.complaint(1100.0) is None
    assert watch.complaint(1101.0) == ("no sign of life for 101 s after the start; at most 100 s is expected")


def test_every_record_is_a_sign_of_life():
    watch = Watch(PATIENCE, now_s=1000.0)
    watch.heard(1090.0)
    assert watch.complaint(1190.0) is None
    assert watch.complaint(1191.0) is not None


def test_the_length_of_the_last_epoch_decides():
    watch = Watch(PATIENCE, now_s=1000.0)
    watch.heard(1003.0, epoch_s=3.0)
    assert watch.complaint(1018.0) is None
    assert watch.complaint(1019.0) == "no sign of life for 16 s after epoch 1; at most 15 s is expected"
