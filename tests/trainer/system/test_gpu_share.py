"""The limit on the GPU memory of a process that shares the GPU with others."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import hear_all
from tests.trainer.run_state.test_failures import request_in
from trainer.system.gpu_share import limit_memory, memory_fraction
from tuner.contract import Outcome
from tuner.execution.trainer_process import TrainerProcess

GIB = 2**30


@pytest.mark.parametrize(("number", "total_gib"), [(1, 80), (2, 80), (4, 80), (7, 80), (2, 10), (4, 24)])
def test_processes_that_share_a_gpu_fit_with_half_a_gib_each_for_their_contexts(number, total_gib):
    fraction = memory_fraction(1 / number, total_gib * GIB)
    assert number * (fraction * total_gib + 0.5) == pytest.approx(total_gib)


def test_a_share_that_is_smaller_than_a_context_leaves_nothing():
    assert memory_fraction(1 / 48, 16 * GIB) == 0.0


@pytest.fixture
def limits(monkeypatch):
    """Record the limits that torch gets, on a machine with two GPUs of 80 GiB."""
    given = {}
    properties = SimpleNamespace(total_memory=80 * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda fraction, device: given.update({device: fraction})
    )
    return given


def test_a_process_on_half_a_gpu_is_limited_and_one_on_a_whole_gpu_is_not(limits):
    limit_memory(0.5, 1)
    assert limits == {1: pytest.approx(0.5 - 0.5 / 80)}
    limit_memory(1.0, 0)
    assert set(limits) == {1}


STAND_IN = """
import sys
from types import SimpleNamespace
from trainer.commands import serve
from tuner.contract import EndRecord, Outcome

warm_up, limits = serve._warm_up, []

def replace_torch():
    warm_up()
    import torch
    from trainer.training import trial

    torch.cuda.get_device_name = lambda device: "a GPU"
    torch.cuda.get_device_properties = lambda device: SimpleNamespace(total_memory=10 * 2**30)
    torch.cuda.set_per_process_memory_fraction = lambda fraction, device: limits.append((device, round(fraction, 4)))
    trial.run = lambda request, emit: EndRecord(outcome=Outcome.COMPLETED, message=str(limits))

serve._warm_up = replace_torch
sys.exit(serve.serve())
"""
"""The real server, with a torch that finds a GPU; its trials report their limits and end."""


@pytest.mark.parametrize(("share", "limits"), [(0.5, "[(0, 0.45)]"), (1.0, "[]")])
def test_a_trial_is_limited_before_it_trains(tmp_path, share, limits):
    server = TrainerProcess([sys.executable, "-c", STAND_IN])
    try:
        server.send(replace(request_in(tmp_path, devices=(0,)), gpu_share=share))
        end = hear_all(server)[-1]
    finally:
        server.close()
    assert (end.outcome, end.message) == (Outcome.COMPLETED, limits)
