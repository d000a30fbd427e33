"""The estimate of how much trials gain that share a GPU: what it counts, and what follows from the counts."""

import pytest

from benchmarks.roofline import ATTAINED_BANDWIDTH, BANDWIDTH, Step, counted

TEN_MS = round(0.01 * ATTAINED_BANDWIDTH * BANDWIDTH)
"""Bytes that an H100 moves in ten milliseconds."""


@pytest.mark.parametrize(
    ("start_s", "trials", "gain"),
    [
        (5e-6, 2, 1.0),  # the GPU is busy all the time
        (20e-6, 2, 2.0),  # it waits for operations half the time
        (20e-6, 4, 2.0),
        (40e-6, 4, 4.0),
    ],
)
def test_trials_gain_as_long_as_the_gpu_waits_for_operations(start_s, trials, gain):
    step = Step(operations=1000, bytes_moved=TEN_MS, flops=1.0)
    alone, together = (step.images_per_s(1, number, start_s) for number in (1, trials))
    assert together / alone == pytest.approx(gain)


def test_the_scarcer_resource_decides():
    by_memory = Step(operations=1, bytes_moved=TEN_MS, flops=1.0).on_gpu_s(16)
    assert by_memory == pytest.approx(0.16)
    assert Step(operations=1, bytes_moved=TEN_MS, flops=1e15).on_gpu_s(16) > by_memory


def test_a_step_of_twice_the_edge_moves_about_four_times_the_bytes_with_as_many_operations():
    small, large = (counted("mamba-yolo-n", imgsz) for imgsz in (64, 128))
    assert small.operations == large.operations
    assert 2 < large.bytes_moved / small.bytes_moved < 5
    assert large.flops == pytest.approx(4 * small.flops, rel=0.1)
