"""Row +s: a job of SLURM is interrupted or fails. It is a real SLURM with virtual nodes."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.arena import DRIVER, MARK, Arena, assert_nothing_lost, assert_nothing_runs, finished
from tests.support.slurm import JobState, SlurmCluster, SlurmMissing, VirtualNode

NODES = (VirtualNode("small", cpus=4, gpus=2), VirtualNode("large", cpus=8, gpus=4))
TIMEOUT_S = 240


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    try:
        cluster = SlurmCluster(NODES)
    except SlurmMissing as why:
        pytest.skip(str(why))
    with cluster:
        yield cluster


class Jobs:
    """An arena whose search runs as a job."""

    def __init__(self, slurm: SlurmCluster, folder: Path) -> None:
        self.slurm = slurm
        self.arena = Arena(folder)
        self.temporary = Path(tempfile.mkdtemp(dir="/tmp"))  # short, for the paths of Ray's sockets
        self.arena.environment = {**slurm.within(self.arena.environment), "TMPDIR": str(self.temporary)}

    def script(self, *options: str, **search) -> Path:
        """Write the script, with the interpreter that records the order of values."""
        noting = self.arena.folder / "python"
        noting.write_text(
            f'#!/bin/bash\n[ "$3" = tuner ] && exec {sys.executable} -P {DRIVER} "" "${{@:4}}"\n'
            f'exec {sys.executable} "$@"\n'
        )
        noting.chmod(0o755)
        options = (*options, "--setup", f"python={noting}", "-o", "job.sh", "--")
        arguments = self.arena.run_arguments(**{"parallel": None, **search})
        command = [sys.executable, "-P", "-m", "tuner", "slurm-script", *options, *arguments]
        subprocess.run(command, cwd=self.arena.folder, env=self.arena.environment, check=True, capture_output=True)
        return self.arena.folder / "job.sh"

    def submit(self, script: Path) -> int:
        output = f"--output={self.arena.folder}/job.out"
        return self.slurm.submit(script, output, environment=self.arena.environment)

    def output(self) -> str:
        return (self.arena.folder / "job.out").read_text()

    def awaited(self, job: int) -> JobState:
        return self.slurm.awaited(job, TIMEOUT_S)

    def close(self) -> None:
        """Leave nothing running, and remove the folder for temporary files."""
        self.arena.kill_everything()
        shutil.rmtree(self.temporary, ignore_errors=True)

    def trains(self, epochs: int = 6) -> None:
        self.arena.wait_for(lambda: len(self.arena.events("epoch")) >= epochs, timeout_s=TIMEOUT_S)


@pytest.fixture
def jobs(slurm, tmp_path_factory) -> Iterator[Jobs]:
    jobs = Jobs(slurm, tmp_path_factory.mktemp("s"))
    yield jobs
    jobs.close()


def joined_address(jobs: Jobs) -> str:
    """Return the address of the cluster that the search of a job has joined."""
    for process in jobs.arena.processes():
        command = process.cmdline()
        if str(DRIVER) in command:
            return command[command.index("--address") + 1]
    raise AssertionError("no search runs")


def first_refusal(jobs: Jobs) -> str:
    """Return the answer of a job's cluster to a client that knows its port but no token; Ray tries for minutes."""
    intruder = {name: value for name, value in jobs.arena.environment.items() if name != MARK}
    program = f"import ray; ray.init(address={joined_address(jobs)!r})"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=intruder, stderr=subprocess.PIPE, text=True) as process:
        line = next((line for line in process.stderr if "Auth" in line), "")
        process.kill()
    return line


@pytest.mark.slow
def test_a_job_searches_on_all_gpus_of_nodes_that_differ_and_nobody_else_can_use_its_cluster(jobs):
    job = jobs.submit(jobs.script("--nodes", "2", "--gpus", "6", "-c", "4", epoch_seconds=0.5, promote=True))
    jobs.trains()
    assert "InvalidAuthToken" in first_refusal(jobs)
    ended = jobs.awaited(job)
    assert (ended.state, ended.exit_code, ended.restarts) == ("COMPLETED", 0, 0), jobs.output()
    assert "6 slot(s), one GPU each" in jobs.output()
    assert "Traceback" not in jobs.output()
    assert_nothing_lost(jobs.arena)
    assert list(jobs.temporary.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("interruption", ["warning", "requeue", "preemption", "lost node"])
def test_a_job_that_is_interrupted_in_any_way_resumes_and_loses_nothing(jobs, interruption):
    job = jobs.submit(jobs.script("--nodes", "2", "--gpus", "3", "-c", "2", "--time", "1:00:00", epoch_seconds=0.5))
    jobs.trains()
    (lost,) = {node.name for node in NODES} - {jobs.slurm.job(job).batch_host}
    if interruption == "warning":  # as SLURM sends it before the time limit, with --signal=B:USR1@90
        jobs.slurm.run("scancel", "--signal=USR1", "--batch", str(job))
    elif interruption == "requeue":
        jobs.slurm.run("scontrol", "requeue", str(job))
    elif interruption == "lost node":
        jobs.slurm.lose(lost)
    else:
        urgent = jobs.arena.folder / "urgent.sh"
        urgent.write_text("#!/bin/bash\nsleep 1\n")
        jobs.slurm.submit(urgent, "--partition=urgent", "--nodes=2", "--exclusive", environment=jobs.slurm.environment)
    jobs.arena.wait_for(lambda: jobs.slurm.job(job).restarts == 1, timeout_s=TIMEOUT_S)
    jobs.arena.wait_for(lambda: jobs.slurm.job(job).state == "PENDING", timeout_s=TIMEOUT_S)
    assert_nothing_runs(jobs.arena)
    before = jobs.arena.status()
    assert before["counts"]["WAITING"] + before["counts"]["RUNNING"] >= 1, (before["counts"], jobs.output())
    if interruption == "lost node":
        jobs.slurm.bring_back(lost)
    ended = jobs.awaited(job)
    assert (ended.state, ended.restarts, ended.exit_code) == ("COMPLETED", 1, 0), jobs.output()
    assert "interrupted trial(s) resume from their last checkpoint" in jobs.output()
    if interruption == "warning":
        assert "stopped by SIGUSR1; run the same command to resume" in jobs.output()
    assert_nothing_lost(jobs.arena, before=before, most_redone=3)


@pytest.mark.slow
def test_a_cancelled_job_leaves_nothing_behind_and_resumes_when_it_is_submitted_again(jobs):
    script = jobs.script("--nodes", "2", "--gpus", "3", "-c", "2", epoch_seconds=0.5)
    job = jobs.submit(script)
    jobs.trains()
    jobs.slurm.run("scancel", str(job))
    assert jobs.awaited(job).state == "CANCELLED"
    assert_nothing_runs(jobs.arena)
    assert list(jobs.temporary.iterdir()) == []
    before = jobs.arena.status()
    assert before["counts"]["RUNNING"] == 0
    assert len(finished(before)) < 8
    assert jobs.awaited(jobs.submit(script)).state == "COMPLETED", jobs.output()
    assert_nothing_lost(jobs.arena, before=before, most_redone=3)


@pytest.mark.slow
def test_a_job_on_one_node_that_fails_has_the_exit_code_of_its_search(jobs):
    jobs.arena.fault("any-1-memory!")
    job = jobs.submit(jobs.script("--gpus-per-node", "2", "-c", "4", parallel=2))
    ended = jobs.awaited(job)
    assert (ended.state, ended.exit_code, ended.restarts) == ("FAILED", 7, 0), jobs.output()
    assert "srun" not in jobs.output()
    assert_nothing_runs(jobs.arena)


@pytest.mark.slow
def test_two_jobs_share_the_same_nodes_without_disturbing_each_other(slurm, tmp_path_factory):
    both = [Jobs(slurm, tmp_path_factory.mktemp("s")) for _ in range(2)]
    try:
        options = ("--nodes", "2", "--gpus", "3", "-c", "2")
        numbers = [each.submit(each.script(*options, epoch_seconds=1.0)) for each in both]
        for each in both:
            each.trains(1)
        assert all(slurm.job(number).state == "RUNNING" for number in numbers), "both train at once"
        for each, number in zip(both, numbers, strict=True):
            assert each.awaited(number).state == "COMPLETED", each.output()
            assert_nothing_lost(each.arena)
    finally:
        for each in both:
            each.close()


@pytest.mark.slow
def test_a_job_whose_cluster_does_not_start_says_so_and_ends_with_5(jobs):
    script = jobs.script("--nodes", "2", "--gpus", "3", "-c", "2")
    script.write_text(script.read_text().replace("--address=", "--no-such-option="))
    job = jobs.submit(script)
    assert jobs.awaited(job).exit_code == 5, jobs.output()
    assert "No such option" in jobs.output(), "what Ray says on the node"
    assert "Ray must start on all 2 nodes of the job" in jobs.output()
    assert_nothing_runs(jobs.arena)
