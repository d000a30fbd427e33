"""Train a final run on real Ray with logical GPUs, lose some, and check which ones train it and what the user reads."""

import pytest
from ray.cluster_utils import Cluster

from tests.support.arena import SPACE, assert_orderly_end
from tuner.exceptions import MachineError


@pytest.fixture(scope="module")
def four_gpus():
    """Start a Ray cluster with four logical GPUs. Yield its address."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 4, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def lab(arena, four_gpus):
    """Return an arena for a study of one trial, whose batch suits four GPUs."""
    (arena.folder / "space.yaml").write_text((SPACE % 1).replace("batch: 16", "batch: 32"))
    arena.address = four_gpus
    return arena


def train(arena, **options):
    return arena.run(parallel=None, promote=True, **options)


def starts(arena):
    """Return the GPUs of each attempt at the final run."""
    return [event["gpu"] for event in arena.events("start") if event["full"]]


def epochs(arena):
    return [event["epoch"] for event in arena.events("epoch") if event["full"]]


def test_a_run_whose_gpu_is_lost_resumes_from_its_checkpoint_on_fewer_gpus(lab):
    lab.fault("full-3-lost=2!")
    code, output = train(lab)
    assert code == 0, output
    assert starts(lab) == ["0,1,2,3", "0,1,2,3", "0,1"]
    assert epochs(lab) == [1, 2, 3, 4], "no epoch is trained twice"
    lines = [line for line in output.splitlines() if "the final run failed on GPUs 0,1,2,3 of " in line]
    assert len(lines) == 2
    assert ": CUDA error: GPU is lost; it resumes from its last checkpoint on GPUs 0,1 of " in lines[1]
    final_run = lab.status()["final_run"]
    assert (final_run["state"], final_run["gpus"]) == ("COMPLETE", 2)


def test_a_run_that_needs_fewer_gpus_than_there_are_moves_to_the_others_at_once(lab):
    (lab.folder / "space.yaml").write_text(SPACE % 1)
    lab.fault("full-2-lost=0!")
    lab.fault("full-3-lost=0!")
    code, output = train(lab)
    assert code == 0, output
    assert starts(lab) == ["0,1", "2,3"]
    assert epochs(lab) == [1, 2, 3, 4]


@pytest.mark.slow
def test_without_a_working_gpu_the_run_ends_after_limited_attempts_with_a_remedy(lab):
    lab.fault("full-1-lost=0,1,2,3!")
    code, output = train(lab)
    assert_orderly_end(code, output, MachineError.exit_code)
    assert starts(lab) == ["0,1,2,3", "0,1,2,3", "0,1", "2,3", "0", "1", "2", "3"]
    last = output.strip().splitlines()[-1]
    assert last.startswith("The final run ended as error: CUDA error: GPU is lost. Log: ")
    assert last.endswith("`tune promote s` resumes it.")


@pytest.mark.slow
def test_an_epoch_between_failures_starts_the_count_again(lab):
    for epoch in range(1, 5):
        lab.fault(f"full-{epoch}-lost=3")
    code, output = train(lab)
    assert code == 0, output
    assert starts(lab) == ["0,1,2,3"] * 5
    assert epochs(lab) == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_failure_that_would_recur_is_not_retried(lab):
    lab.fault("full-2-error!")
    code, output = train(lab)
    assert_orderly_end(code, output, MachineError.exit_code)
    assert starts(lab) == ["0,1,2,3"]
    assert "fix the cause first" in output


@pytest.mark.slow
def test_a_gpu_that_the_search_has_retired_is_not_used(lab):
    (lab.folder / "space.yaml").write_text((SPACE % 10).replace("batch: 16", "batch: 32"))
    for epoch in range(1, 10):
        lab.fault(f"any-{epoch}-lost=1!")
    code, output = train(lab, epoch_seconds=0.4)
    assert code == 0, output
    assert "the final run leaves out GPU 1 of " in output
    assert starts(lab) == ["0,2"], "two of three GPUs divide a batch of 32"
