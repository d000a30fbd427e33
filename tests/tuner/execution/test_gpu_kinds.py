"""Use GPUs of several kinds, on this machine and in a cluster: the smallest limits all trials."""

import math
import os

import pytest
from ray.cluster_utils import Cluster

from tests.support import fake_nvidia_smi
from tests.support.arena import assert_orderly_end
from tuner.exceptions import SpaceError
from tuner.execution.gpu_kinds import (
    GpuKind,
    common_room_gib,
    kinds_here,
    kinds_note,
    smallest_gpu,
)

H100, L4 = "NVIDIA H100 80GB HBM3", "NVIDIA L4"
UNLIKE = f"""0, GPU-a, 14, 81559, 0, {H100}
1, GPU-b, 14, 23034, 0, {L4}
2, GPU-c, 14, 81559, 0, {H100}
3, GPU-d, 14, 40960, 0, {H100}"""
FOUR_GPUS = {f"GPU-{letter}": () for letter in "abcd"}


@pytest.fixture
def unlike(tmp_path, monkeypatch):
    """Make this a machine with four GPUs of three kinds."""
    monkeypatch.setenv("PATH", f"{fake_nvidia_smi.install(tmp_path, FOUR_GPUS, UNLIKE)}:{os.environ['PATH']}")


def kind(memory_gib, name="A", places=("0",)):
    return GpuKind(name=name, memory_gib=memory_gib, places=places)


def test_gpus_that_differ_in_name_or_memory_are_reported_with_the_smallest_and_a_choice_of_one_kind(unlike):
    assert kinds_note(kinds_here({}), is_cluster=False) == (
        f"the GPUs differ (0,2: {H100}, 80 GiB; 1: {L4}, 22 GiB; 3: {H100}, 40 GiB); batch and image size must fit on "
        f"the smallest, {L4}, 22 GiB; times of trials are compared; to use one kind: --gpus 0,2"
    )


@pytest.mark.parametrize(("shown", "number"), [("0,2", 1), ("1", 1), ("0,3", 2)])
def test_only_visible_gpus_count(unlike, shown, number):
    kinds = kinds_here({"CUDA_VISIBLE_DEVICES": shown})
    note = kinds_note(kinds, is_cluster=False)
    assert len(kinds) == number
    assert (note == "") == (number == 1)
    assert number == 1 or note.endswith("--gpus 0,"), "a comma makes a list of one index"


def test_without_nvidia_smi_no_kind_is_known_and_nothing_is_reported(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert kinds_here({}) == ()
    assert kinds_note((), is_cluster=False) == ""
    assert common_room_gib(()) == math.inf


def test_gpus_of_other_names_with_the_same_memory_need_no_comparison():
    kinds = kind(79.6), kind(79.7, "B", ("1",))
    assert smallest_gpu(kinds) is None
    assert common_room_gib(kinds) == math.inf
    assert "smallest" not in kinds_note(kinds, is_cluster=False)


@pytest.mark.parametrize(("share", "room_gib"), [(1.0, 23.5), (0.5, 11.5)])
def test_a_trial_has_its_share_of_the_smallest_gpu_minus_a_context(share, room_gib):
    assert common_room_gib((kind(80), kind(24, "B")), share) == room_gib


@pytest.fixture(scope="module")
def unlike_cluster(tmp_path_factory):
    """Start a cluster of two machines, each with two GPUs by its `nvidia-smi`. Yield its address."""
    path, cluster = os.environ["PATH"], Cluster()
    try:
        for number, (name, mib) in enumerate([(H100, 81559), (L4, 23034)]):
            folder = tmp_path_factory.mktemp(f"node{number}")
            usage = "\n".join(f"{gpu}, GPU-{gpu}, 14, {mib}, 0, {name}" for gpu in range(2))
            place = fake_nvidia_smi.install(folder, {"GPU-0": (), "GPU-1": ()}, usage)
            os.environ["PATH"] = f"{place}:{path}"
            cluster.add_node(num_cpus=2, num_gpus=2, include_dashboard=False)
    finally:
        os.environ["PATH"] = path
    yield cluster.address
    cluster.shutdown()


SIZES = """
search: {epochs: 9, rungs: [3], reduction_factor: 3, trials: 6, reevaluation_runs: 0}
parameters:
  optimizer: SGD
  batch: {choice: [8, 16, 32, 64]}
  imgsz: 64
  lr0: {float: [0.0001, 0.9], log: true}
baseline: {lr0: 0.01, batch: 16}
data: sample
model: mamba-yolo-n
"""
GIB = 2 * 64**2
"""Number of pixels per GiB, so that a batch of 64 takes 32 GiB."""


@pytest.fixture
def machine(arena, tmp_path):
    """Make this a machine with an H100 and an L4. Memory is measured on the H100."""
    usage = f"0, GPU-a, 14, 81559, 0, {H100}\n1, GPU-b, 14, 23034, 0, {L4}"
    place = fake_nvidia_smi.install(tmp_path, {"GPU-a": (), "GPU-b": ()}, usage)
    arena.address = None
    arena.environment["PATH"] = f"{place}:{os.environ['PATH']}"
    arena.environment["CUDA_VISIBLE_DEVICES"] = "0,1"  # without it, Ray looks for real GPUs
    (arena.folder / "space.yaml").write_text(SIZES)
    return arena


TOLD = (
    f"the GPUs differ (0: {H100}, 80 GiB; 1: {L4}, 22 GiB); batch and image size must fit on the smallest, {L4}, "
    "22 GiB; times of trials are compared; to use one kind: --gpus 0,"
)


def batches(arena):
    return {trial["params"]["batch"] for trial in arena.status()["trials"]}


def test_sizes_that_do_not_fit_on_the_smallest_gpu_are_left_out_even_if_measured_elsewhere(machine):
    code, output = machine.run(parallel=None, gib=GIB)
    assert code == 0, output
    lines = output.splitlines()
    assert TOLD in output
    assert [line for line in lines if line.startswith("memory")] == [
        f"memory batch 64 at imgsz 64 takes 32.0 GiB, more than the 22.0 GiB of {L4}",
        "memory batch 32 at imgsz 64 takes 16.0 GiB",
        f"memory {L4} cannot hold batch 64 at imgsz 64; excluded, with all sizes at least as large in both",
    ]
    assert len(machine.status()["trials"]) == 6
    assert max(batches(machine)) == 32


@pytest.mark.slow
def test_on_the_large_gpu_alone_all_sizes_fit(machine):
    code, output = machine.run(parallel=None, gib=GIB, more=["--gpus", "0,", "--trials", "1"])
    assert code == 0, output
    assert "the GPUs differ" not in output
    assert [line for line in output.splitlines() if line.startswith("memory")] == [
        "memory batch 64 at imgsz 64 takes 32.0 GiB"
    ]


@pytest.mark.slow
def test_trials_share_the_smallest_gpu_only_if_the_largest_sizes_fit_into_its_share(machine):
    more = ["--trials-per-gpu", "auto", "--trials", "1"]
    code, output = machine.run(parallel=None, busy=0.1, gib=2 * GIB, more=more)
    assert code == 0, output
    assert f"memory batch 64 at imgsz 64 does not fit into 1/2 of {L4}" in output
    assert "share  1 trial per GPU, because the largest batch and image size do not fit into 1/2" in output


@pytest.mark.slow
def test_a_default_configuration_that_the_smallest_gpu_cannot_hold_is_refused_with_its_name(machine):
    (machine.folder / "space.yaml").write_text(SIZES.replace("batch: 16", "batch: 64"))
    code, output = machine.run(parallel=None, gib=GIB)
    assert_orderly_end(code, output, SpaceError.exit_code)
    assert f"must fit into memory, but batch 64 at imgsz 64 does not on {L4}; set `baseline: {{batch: 32}}`" in output


def test_the_smallest_machine_of_a_cluster_limits_all(arena, unlike_cluster):
    arena.address = unlike_cluster
    (arena.folder / "space.yaml").write_text(SIZES)
    code, output = arena.run(parallel=None, gib=GIB)
    assert code == 0, output
    (told,) = [line for line in output.splitlines() if "the GPUs differ" in line]
    assert f": {H100}, 80 GiB" in told, "each machine is asked"
    assert told.endswith(f"must fit on the smallest, {L4}, 22 GiB; times of trials are compared"), "no index to choose"
    assert f"memory {L4} cannot hold batch 64 at imgsz 64; excluded" in output
    assert max(batches(arena)) == 32
