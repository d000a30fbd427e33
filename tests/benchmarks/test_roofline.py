"""The estimate of the gain of trials that share a GPU: what it counts, and what follows from the counts."""

import pytest
import torch

from benchmarks.roofline import ATTAINED_BANDWIDTH, BANDWIDTH, Step, _Counter, counted
from trainer.nn.selective_scan import cross_selective_scan

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


def test_the_products_inside_a_scan_count_with_the_time_steps_that_they_write_and_read():
    side, channels, rank, states = 2, 8, 3, 16
    pixels = 1, side, side
    u, low_rank = torch.zeros(*pixels, channels), torch.zeros(*pixels, 4, rank)
    B, C = (torch.zeros(*pixels, 4, states) for _ in range(2))
    D, bias = (torch.zeros(4, channels) for _ in range(2))
    A, weight = -torch.ones(4, channels, states), torch.zeros(4, channels, rank, requires_grad=True)
    inputs = u, low_rank, A, B, C, D, bias, weight
    cross_selective_scan(*inputs)  # chooses the implementation, which is not part of a step
    with _Counter() as counter:
        cross_selective_scan(*inputs)
    kept_states = A.numel()  # one state for a path as short as this one
    at_the_edge = sum(x.numel() for x in inputs) + u.numel() + kept_states
    time_steps = side**2 * 4 * channels
    assert counter.operations == 2
    assert counter.bytes_moved == 2 * (at_the_edge + 2 * time_steps)
