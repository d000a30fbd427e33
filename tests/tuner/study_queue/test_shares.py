"""Divide the devices of a queue: cases by hand, then rules that hold for all queues."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.study_queue.shares import Claim, shares


@pytest.mark.parametrize(
    ("claims", "devices", "expected"),
    [
        ([], 8, {}),
        ([Claim(1, 0, None)], 8, {1: 8}),
        ([Claim(1, 0, None), Claim(2, 0, None)], 8, {1: 4, 2: 4}),
        ([Claim(1, 0, None), Claim(2, 0, None), Claim(3, 0, None)], 8, {1: 3, 2: 3, 3: 2}),
        ([Claim(1, 0, 1), Claim(2, 0, None), Claim(3, 0, None)], 8, {1: 1, 2: 4, 3: 3}),
        ([Claim(1, 0, None), Claim(2, 5, 2)], 8, {1: 6, 2: 2}),
        ([Claim(1, 0, None), Claim(2, 5, None)], 8, {1: 0, 2: 8}),
        ([Claim(1, -5, None), Claim(2, 0, 3)], 2, {1: 0, 2: 2}),
        ([Claim(n, 0, None) for n in range(1, 6)], 3, {1: 1, 2: 1, 3: 1, 4: 0, 5: 0}),
        ([Claim(1, 0, None)], 0, {1: 0}),
    ],
)
def test_devices_are_divided_by_priority_then_equally(claims, devices, expected):
    assert shares(claims, devices) == expected
    assert shares(reversed(claims), devices) == expected, "the order of the list does not matter"


claims = st.lists(st.tuples(st.integers(-2, 2), st.none() | st.integers(1, 9)), max_size=8).map(
    lambda rows: [Claim(number, priority, most) for number, (priority, most) in enumerate(rows)]
)


@given(claims, st.integers(0, 20))
def test_no_usable_device_is_left_and_no_study_gets_more_than_it_can_use(claims, devices):
    granted = shares(claims, devices)
    limits = {claim.number: devices if claim.most is None else min(claim.most, devices) for claim in claims}
    assert sum(granted.values()) == min(devices, sum(limits.values()))
    assert all(granted[number] <= limit for number, limit in limits.items())


@given(claims, st.integers(0, 20))
def test_no_study_waits_for_a_lower_priority_and_equals_differ_by_at_most_one(claims, devices):
    granted = shares(claims, devices)
    for one in claims:
        limit = devices if one.most is None else min(one.most, devices)
        for other in claims:
            if one.priority > other.priority and granted[other.number]:
                assert granted[one.number] == limit
            if one.priority == other.priority:
                assert granted[one.number] >= min(limit, granted[other.number] - 1)
