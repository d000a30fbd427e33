"""Find the GPUs that a run may use, by CUDA_VISIBLE_DEVICES as CUDA reads it, and by `--gpus`."""

import os
import stat

import pytest

from tests.support import fake_nvidia_smi
from tests.support.arena import SPACE
from tuner.exceptions import MachineError, UsageError
from tuner.execution.visible_gpus import Gpu, are_parts, busy_notes, read_choice, settle, visible

PARTS = tuple(f"MIG-{number}" for number in range(7))
FOUR = tuple(Gpu(f"GPU-{letter}", ()) for letter in "abcd")
SHARED = (Gpu("GPU-a", PARTS), Gpu("GPU-b", ()))


@pytest.mark.parametrize(
    ("value", "gpus", "expected"),
    [
        ("", FOUR, ()),
        ("-1", FOUR, ()),
        ("none", FOUR, ()),
        ("NoDevFiles", FOUR, ()),
        ("0,-1,2", FOUR, ("0",)),
        ("2,0", FOUR, ("2", "0")),
        ("1, 3", FOUR, ("1", "3")),
        ("3,4,0", FOUR, ("3",)),
        ("0,x,1", FOUR, ("0",)),
        ("GPU-b,GPU-d", FOUR, ("GPU-b", "GPU-d")),
        ("GPU-b,GPU-z,GPU-d", FOUR, ("GPU-b",)),
        (",".join(PARTS), SHARED, PARTS),
        ("MIG-3", SHARED, ("MIG-3",)),
        (None, FOUR, None),
        (None, SHARED, (*PARTS, "1")),
        (None, None, None),
        ("5,GPU-q", None, ("5", "GPU-q")),
        ("-1", None, ()),
        ("0", (), ()),
    ],
)
def test_the_visible_devices_are_those_that_cuda_makes_visible(value, gpus, expected):
    assert visible(value, gpus) == expected


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Make this a machine with these GPUs. Return the environment of a process on it."""

    def make(gpus, usage="", **environment):
        place = fake_nvidia_smi.install(tmp_path, gpus, usage)
        monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
        return environment

    return make


FOUR_GPUS = {f"GPU-{letter}": () for letter in "abcd"}


@pytest.mark.parametrize(
    ("text", "given", "number", "then"),
    [
        ("3", {}, 3, None),
        ("0", {}, 0, None),
        (None, {}, None, None),
        ("0,2", {}, 2, "0,2"),
        ("3,", {}, 1, "3"),
        ("0,1", {"CUDA_VISIBLE_DEVICES": "3,1,0"}, 2, "3,1"),
        ("1,", {"CUDA_VISIBLE_DEVICES": "GPU-c,GPU-d"}, 1, "GPU-d"),
    ],
)
def test_a_list_makes_its_gpus_the_only_visible_ones_and_a_number_hides_none(machine, text, given, number, then):
    environment = machine(FOUR_GPUS, **given)
    assert read_choice(text, address=None, environment=environment) == number
    assert environment.get("CUDA_VISIBLE_DEVICES", None) == (then or given.get("CUDA_VISIBLE_DEVICES"))


@pytest.mark.parametrize("text", ["-1", "two", "0,0", "0,,1", ",", "1.5", "٣", "0,2,x", ""])
def test_text_that_is_neither_a_number_nor_a_list_is_refused(machine, text):
    with pytest.raises(UsageError, match="--gpus must be a number of GPUs"):
        read_choice(text, address=None, environment=machine(FOUR_GPUS))


@pytest.mark.parametrize(
    ("gpus", "given", "text", "told"),
    [
        (FOUR_GPUS, {}, "0,4", "must list GPUs that exist, 0 to 3, but got 4"),
        (FOUR_GPUS, {"CUDA_VISIBLE_DEVICES": "2"}, "1,", "must list GPUs that exist, 0 to 0, but got 1"),
        ({}, {}, "0,1", "no GPU is visible here"),
        (FOUR_GPUS, {"CUDA_VISIBLE_DEVICES": "-1"}, "0,1", "no GPU is visible here"),
    ],
)
def test_a_gpu_that_does_not_exist_is_refused(machine, gpus, given, text, told):
    with pytest.raises(MachineError, match=told):
        read_choice(text, address=None, environment=machine(gpus, **given))


def test_a_cluster_takes_a_number_only(machine):
    with pytest.raises(UsageError, match="must be a number with --address"):
        read_choice("0,1", address="auto", environment=machine(FOUR_GPUS))


@pytest.mark.parametrize(
    ("given", "number", "then"),
    [
        ({}, None, None),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 0, ""),
        ({"CUDA_VISIBLE_DEVICES": "2,9"}, 1, "2"),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, 2, "1,0"),
    ],
)
def test_ray_gets_the_number_of_gpus_that_cuda_has(machine, given, number, then):
    environment = machine(FOUR_GPUS, **given)
    assert settle(environment) == number
    assert environment.get("CUDA_VISIBLE_DEVICES") == then
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID", "the order of nvidia-smi"


def test_without_nvidia_smi_ray_counts_the_gpus(monkeypatch):
    monkeypatch.setenv("PATH", "")
    environment = {"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    assert settle(environment) is None
    assert environment["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST", "the user's choice"


def test_a_failing_nvidia_smi_counts_as_missing(machine, tmp_path):
    environment = machine({})
    program = tmp_path / "nvidia" / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA-SMI has failed\nexit 9\n")
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert settle(environment) is None


def test_each_mig_device_is_one_gpu_and_a_process_can_use_only_one(machine):
    environment = machine({"GPU-a": PARTS})
    assert settle(environment) == 7
    assert environment["CUDA_VISIBLE_DEVICES"] == ",".join(PARTS)
    assert are_parts(environment)
    assert not are_parts({"CUDA_VISIBLE_DEVICES": "0"})
    assert not are_parts({})


USAGE = """0, GPU-a, 14, 81559, 0, NVIDIA H100 80GB HBM3
1, GPU-b, 31025, 81559, 97, NVIDIA H100 80GB HBM3
2, GPU-c, 70000, 81559, 100, NVIDIA H100 80GB HBM3
3, GPU-d, [N/A], [N/A], [N/A], NVIDIA H100 80GB HBM3"""


def test_a_busy_gpu_is_reported_if_it_is_visible(machine):
    environment = machine(FOUR_GPUS, USAGE, CUDA_VISIBLE_DEVICES="0,1,3")
    (told,) = busy_notes(environment)
    assert told.startswith("GPU 1 is in use: 30.3 of 79.6 GiB, 97 % busy")
    assert len(list(busy_notes({}))) == 2
    assert len(list(busy_notes({"CUDA_VISIBLE_DEVICES": "GPU-c"}))) == 1


def test_without_an_answer_no_gpu_is_called_busy(machine):
    assert list(busy_notes(machine(FOUR_GPUS))) == []


@pytest.mark.parametrize(
    ("gpus", "choice", "devices"),
    [
        pytest.param({"GPU-a": PARTS[:3]}, [], set(PARTS[:3]), marks=pytest.mark.slow),
        (FOUR_GPUS, ["--gpus", "1,3"], {"1", "3"}),
    ],
)
def test_a_search_uses_each_chosen_device(arena, tmp_path, gpus, choice, devices):
    """Start a separate Ray: the GPUs of a running cluster are not ours to set."""
    arena.address = None
    arena.environment["PATH"] = f"{fake_nvidia_smi.install(tmp_path, gpus)}:{os.environ['PATH']}"
    (arena.folder / "space.yaml").write_text(SPACE % 6)
    code, output = arena.run(epoch_seconds=0.3, parallel=None, more=choice)
    assert code == 0, output
    assert {event["gpu"] for event in arena.events("start")} == devices
