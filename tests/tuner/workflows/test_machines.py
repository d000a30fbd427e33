"""Adapt a run to its machine: busy GPUs, and little shared memory."""

import os
import shutil
from types import SimpleNamespace

import pytest

from tests.support import fake_nvidia_smi
from tuner.contract import ImageCache
from tuner.exceptions import MachineError
from tuner.execution.cluster import Slots
from tuner.memory.image_cache import Room
from tuner.space import load_space
from tuner.workflows import machines
from tuner.workflows.machines import looked_over, shared_images

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
    """Return the slots and the messages of a run on a machine with this much shared memory."""
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


def test_nothing_starts_with_the_default_shared_memory_of_a_container(found):
    with pytest.raises(MachineError, match="but 64 MiB are free; give a container more"):
        found(free_gib=1 / 16)


@pytest.mark.parametrize(
    ("slots", "address"), [(Slots(number=8, gpus_per_trial=0, threads=1, cpus=1.0), None), (EIGHT, "auto")]
)
def test_trials_on_a_cpu_have_no_loaders_and_other_machines_are_not_checked(found, slots, address):
    assert found(slots, free_gib=1 / 16, address=address) == (slots, [])


def test_a_busy_gpu_is_reported(found, tmp_path, monkeypatch):
    place = fake_nvidia_smi.install(tmp_path, {"GPU-a": ()}, "0, GPU-a, 40000, 81559, 90, NVIDIA H100")
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    _, told = found()
    assert [line.partition(":")[0] for line in told] == ["GPU 0 is in use"]


GIB = 2**30
DECODED = ImageCache(folder="/cache/decoded", used_bytes=0, num_images=10_000, bytes_per_square=0.75 * 30_000)
"""Cache of a data set that takes 8.6 GiB at 640 pixels, with 1.2 images per MiB, and 2.2 GiB at 320."""


@pytest.fixture
def sharing(tmp_path, monkeypatch):
    """Return the bytes that trials share, and the messages, on a machine with this much free memory."""

    def run(*, memory_gib=64.0, asked_gib=None, address=None, cache="false"):
        (tmp_path / "space.yaml").write_text(SPACE.replace("optimizer: SGD", f"optimizer: SGD\n  cache: {cache}"))
        room = Room(memory_bytes=int(memory_gib * GIB), disk_bytes=1000 * GIB, file_system="ext4")
        for module in ("tuner.workflows.machines", "tuner.memory.image_cache"):
            monkeypatch.setattr(f"{module}.room_for", lambda cache, reserved_bytes=0: room)
        asked = None if asked_gib is None else asked_gib * GIB
        options = SimpleNamespace(
            space=load_space(tmp_path / "space.yaml"),
            machines=SimpleNamespace(address=address, image_cache_bytes=asked),
        )
        told = []
        prepared = SimpleNamespace(image_cache=DECODED)
        return shared_images(EIGHT, options, prepared, reserved_bytes=0, on_event=told.append) / GIB, told

    return run


def test_trials_share_the_images_of_all_sizes_of_the_space_if_they_fit(sharing):
    assert sharing() == (
        32.0,
        ["all trials share decoded images, 10.8 GiB in '/cache/decoded'; --cache-gib 0 keeps none"],
    )
    bound, told = sharing(memory_gib=20)
    assert bound == 0
    assert "decoded they are 10.8 GiB, more than half of the 20 GiB of free memory" in told[0]


def test_the_option_decides_and_a_cluster_needs_it(sharing):
    assert sharing(asked_gib=0) == (0.0, [])
    assert sharing(asked_gib=20, memory_gib=1) == (20.0, [])
    assert sharing(asked_gib=20, address="auto") == (20.0, [])
    assert sharing(address="auto")[0] == 0


def test_a_warning_says_that_copies_of_the_images_in_each_trial_do_not_fit(sharing):
    bound, told = sharing(cache="ram")
    assert bound == 32
    assert told[0].startswith(
        "`cache: ram` keeps a copy of the decoded images in each of 8 trials, up to 69 GiB, but 64 GiB"
    )
    assert len(sharing(cache="ram", memory_gib=80)[1]) == 1, "only that they are shared"
    assert len(sharing(cache="disk")[1]) == 1
