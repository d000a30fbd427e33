"""The batch script for SLURM: its requests, and how its bash passes arguments, signals and exit codes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuner.exceptions import UsageError
from tuner.workflows.slurm.job import Job
from tuner.workflows.slurm.script import Search, batch_script, write_script

STRANGE = ("--set", "a b", "$HOME `id` $(id)", "it's", 'a "quoted" \\ word', "*", "", "-x", "ä\u2713", "a\nb")


def search_of(folder, *arguments, python=Path(sys.executable), **more):
    return Search(arguments=arguments or ("--space", "quick"), python=python, folder=folder, **more)


def directives(script):
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]


@pytest.fixture
def stand_in(tmp_path):
    """Return a function that writes a stand-in for Python: lines of bash that get the arguments of `tune run`."""

    def made(lines):
        program = tmp_path / "python"
        program.write_text(f"#!/bin/bash\nshift 4\n{lines}\n")
        program.chmod(0o755)
        return program

    return made


@pytest.fixture
def started(tmp_path):
    """Start a script as SLURM does. `scontrol` only records its calls."""
    (tmp_path / "bin").mkdir()
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.write_text(f'#!/bin/bash\necho "$@" >> "{tmp_path}/scontrol.txt"\n')
    scontrol.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    environment.pop("SLURM_JOB_NUM_NODES", None)

    def start(script, **variables):
        (tmp_path / "job.sh").write_text(script)
        return subprocess.Popen(
            ["bash", str(tmp_path / "job.sh")],
            cwd=tmp_path,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def requeued(folder):
    noted = folder / "scontrol.txt"
    return noted.read_text() if noted.exists() else ""


def await_file(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_script_asks_for_what_is_given_and_for_being_requeued(tmp_path):
    job = Job(name="s", nodes=3, gpus="a100:10", cpus_per_task=32, mem="64G", time="2-12", constraint="a&b")
    assert directives(batch_script(job, search_of(tmp_path))) == [
        "--job-name=s",
        "--nodes=3",
        "--ntasks-per-node=1",
        "--gpus=a100:10",
        "--cpus-per-task=32",
        "--mem=64G",
        "--time=2-12",
        "--constraint='a&b'",
        "--requeue --open-mode=append --signal=B:USR1@90",
        f"--chdir={tmp_path}",
    ]


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_script_is_correct_bash(tmp_path, nodes):
    search = search_of(tmp_path, "--set", "it's", setup=("echo a; echo b # c",))
    script = batch_script(Job(name="s", nodes=nodes), search)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    if shutil.which("shellcheck"):
        checked = subprocess.run(["shellcheck", "-"], input=script, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stdout


def test_a_ray_cluster_of_several_nodes_requires_a_token_and_one_node_needs_no_cluster(tmp_path):
    several = batch_script(Job(name="s", nodes=2), search_of(tmp_path))
    assert several.index("RAY_AUTH_MODE=token") < several.index("\nsrun ")
    one = batch_script(Job(name="s"), search_of(tmp_path))
    assert "srun" not in one
    assert "--address" not in one


def test_arguments_reach_the_search_as_they_are(tmp_path, stand_in, started):
    python = stand_in("printf '%s\\0' \"$@\" > got")
    process = started(batch_script(Job(name="s"), search_of(tmp_path, *STRANGE, python=python)))
    assert process.wait(30) == 0
    assert (tmp_path / "got").read_text().split("\0")[:-1] == list(STRANGE)


@pytest.mark.parametrize("code", [0, 4, 7, 143])
def test_a_job_has_the_exit_code_of_its_search_and_is_not_requeued(tmp_path, stand_in, started, code):
    assert started(batch_script(Job(name="s"), search_of(tmp_path, python=stand_in(f"exit {code}")))).wait(30) == code
    assert requeued(tmp_path) == ""


@pytest.mark.parametrize(
    ("lines", "code"),
    [("trap 'sleep 0.3; exit 75' USR1; touch up; while :; do sleep 0.05; done", 75), ("touch up; exec sleep 30", 138)],
    ids=["in order", "while it starts"],
)
def test_a_warning_reaches_the_search_and_the_job_is_requeued_when_it_has_ended(
    tmp_path, stand_in, started, lines, code
):
    process = started(batch_script(Job(name="s"), search_of(tmp_path, python=stand_in(lines))))
    await_file(tmp_path / "up")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == code
    assert requeued(tmp_path) == "requeue 7\n"


def test_a_warning_before_the_search_starts_requeues_the_job_without_it(tmp_path, stand_in, started):
    search = search_of(tmp_path, python=stand_in("touch ran"), setup=("touch up; sleep 1",))
    process = started(batch_script(Job(name="s"), search))
    await_file(tmp_path / "up")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 75
    assert requeued(tmp_path) == "requeue 7\n"
    assert not (tmp_path / "ran").exists()


def test_a_request_to_end_is_left_to_the_search_which_slurm_signals_too(tmp_path, stand_in, started):
    python = stand_in("echo $$ > up.new; mv up.new up; trap 'sleep 0.3; exit 143' TERM; while :; do sleep 0.05; done")
    process = started(batch_script(Job(name="s"), search_of(tmp_path, python=python)))
    await_file(tmp_path / "up")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None
    os.kill(int((tmp_path / "up").read_text()), signal.SIGTERM)
    assert process.wait(30) == 143
    assert requeued(tmp_path) == ""


def test_a_setup_command_prepares_the_environment_and_ends_the_job_if_it_fails(tmp_path, stand_in, started):
    python = stand_in('echo "$SET" > got')
    good = search_of(tmp_path, python=python, setup=("export SET=it",))
    assert started(batch_script(Job(name="s"), good)).wait(30) == 0
    assert (tmp_path / "got").read_text() == "it\n"
    bad = search_of(tmp_path, python=python, setup=("export SET=other; false",))
    process = started(batch_script(Job(name="s"), bad))
    _, said = process.communicate(timeout=30)
    assert process.returncode == 5
    assert said == "A setup command failed; see its message above.\n"
    assert (tmp_path / "got").read_text() == "it\n"


def test_a_secret_is_required_when_the_job_is_submitted_and_is_not_in_the_script(tmp_path, stand_in, started):
    search = search_of(tmp_path, python=stand_in("exit 0"), variables=("TUNE_STORAGE",))
    script = batch_script(Job(name="s"), search)
    process = started(script, TUNE_STORAGE="")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said.startswith("TUNE_STORAGE must be set when the job is submitted, as it was when this script was ")
    assert started(script, TUNE_STORAGE="postgresql://host/name").wait(30) == 0


def test_a_script_for_one_node_refuses_several(tmp_path, stand_in, started):
    process = started(batch_script(Job(name="s"), search_of(tmp_path)), SLURM_JOB_NUM_NODES="2")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said == "This script is for one node, but the job has 2; write it again with --nodes.\n"


@pytest.mark.parametrize("setup", ["echo 'open", "if true", ""])
def test_a_setup_command_must_be_bash(tmp_path, setup):
    with pytest.raises(UsageError, match="--setup must be a command of bash, but got"):
        batch_script(Job(name="s"), search_of(tmp_path, setup=(setup,)))


@pytest.mark.parametrize("time_limit", ["10", "90:00", "12:00:00", "2-0", "1-12:30", "1-12:30:15", "UNLIMITED"])
def test_every_form_of_a_time_limit_is_accepted(time_limit):
    assert f"--time={time_limit}" in Job(name="s", time=time_limit).directives()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"time": "12h"}, "--time must be a time of SLURM of more than 90 s, .* but got '12h'"),
        ({"time": "1:30"}, "--time must be .* more than 90 s, .* but got '1:30'"),
        ({"gpus": "4", "gpus_per_node": "4"}, "--gpus and --gpus-per-node exclude each other"),
        ({"gpus": "0"}, "--gpus must be a number of GPUs, .* but got '0'; leave it out"),
        ({"gpus_per_node": "a100:x"}, "--gpus-per-node must be a number of GPUs, .* but got 'a100:x'"),
        ({"nodes": 3, "gpus": "2"}, "--gpus must be at least the number of nodes, 3, but got 2; use fewer nodes"),
        ({"mem": "much"}, "--mem must be the memory of a node, such as 64G, but got 'much'"),
        ({"account": ""}, "--account must be a value without control characters, but got ''"),
        ({"partition": "a\nb"}, r"--partition must be a value without control characters, but got 'a\\nb'"),
    ],
)
def test_options_that_sbatch_would_refuse_are_refused_before_the_script_is_written(wrong, said):
    with pytest.raises(UsageError, match=said):
        Job(**{"name": "s", **wrong})


def test_gpus_are_counted_over_all_nodes():
    assert Job(name="s", nodes=3, gpus_per_node="h100:8").num_gpus == 24
    assert Job(name="s", nodes=3, gpus="10").num_gpus == 10
    assert Job(name="s", nodes=3).num_gpus is None


def test_only_the_owner_can_read_and_run_a_script(tmp_path):
    write_script("#!/bin/bash\n", tmp_path / "job.sh")
    assert (tmp_path / "job.sh").stat().st_mode & 0o777 == 0o700
