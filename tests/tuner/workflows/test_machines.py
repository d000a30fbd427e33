"""What a run does about the machine that it finds: busy GPUs, and little shared memory."""

import os
import shutil
from types import SimpleNamespace

import pytest

from tests.support import fake_nvidia_smi
from tuner.exceptions import MachineError
from tuner.execution.cluster import Slots
from tuner.space import load_space
from tuner.workflows import machines
from tuner.workflows.machines import looked_over

SPACE = """
search: {epochs: 9}
parameters:
  batch: {choice: [16, 64]}
  imgsz: {choice: [320, 640]}
  lr0: {float: [0.0001, 0.1], log: true}
  optimizer: SGD
baseline: {batch: 16, imgsz: 640, lr0: 0.01}
"""
EIGHT = Slots(number=8, gpus_per_trial=1, threads=8, cpus=8.0)
IMAGES = SimpleNamespace(num_images={"train": 10_000})


@pytest.fixture
def found(tmp_path, monkeypatch):
    """The slots of a run, and what it is told, on a machine with this much shared memory."""
    (tmp_path / "space.yaml").write_text(SPACE)
    space = load_space(tmp_path / "space.yaml")

    def run(slots=EIGHT, *, free_gib=64.0, address=None):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=int(free_gib * 2**30)))
        monkeypatch.setattr(machines, "SHARED_MEMORY", tmp_path)
        told = []
        options = SimpleNamespace(space=space, machines=SimpleNamespace(address=address))
        return looked_over(slots, options, IMAGES, told.append), told

    return run


def test_with_room_enough_the_slots_stay_as_they_are(found):
    assert found() == (EIGHT, [])


def test_with_little_room_each_trial_gets_fewer_loaders_and_says_so(found):
    slots, told = found(free_gib=20.0)
    assert slots.threads == 4, "for the largest batch and images of the space"
    assert [line.partition(" processes")[0] for line in told] == ["each trial loads data with 4 instead of 8"]


def test_with_the_shared_memory_of_a_container_nothing_starts(found):
    with pytest.raises(MachineError, match="but 64 MiB are free; give a container more"):
        found(free_gib=1 / 16)


@pytest.mark.parametrize(
    ("slots", "address"), [(Slots(number=8, gpus_per_trial=0, threads=1, cpus=1.0), None), (EIGHT, "auto")]
)
def test_trials_on_a_cpu_have_no_loaders_and_other_machines_are_not_looked_at(found, slots, address):
    assert found(slots, free_gib=1 / 16, address=address) == (slots, [])


def test_a_busy_gpu_is_told(found, tmp_path, monkeypatch):
    place = fake_nvidia_smi.install(tmp_path, {"GPU-a": ()}, "0, GPU-a, 40000, 81559, 90")
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    _, told = found()
    assert [line.partition(":")[0] for line in told] == ["GPU 0 is in use"]
