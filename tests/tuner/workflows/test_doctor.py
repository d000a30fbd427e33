"""`tune doctor`: the problems that it finds, and their remedies."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import tuner.workflows.doctor
from trainer.ultralytics_bridge import environment
from tuner.contract import EndRecord, EnvironmentRecord, Gpu, Outcome, encode
from tuner.workflows.doctor import examine

ROOT = Path(__file__).parents[3]
OURS = f"#!{sys.executable}\nfrom tuner.cli.main import main\nmain()\n"
NONE = ()
"""Command of a trainer that gets no request."""
RAYS = f"#!{sys.executable}\nfrom ray.tune.scripts import cli\ncli()\n"


def script(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def no_trainer(monkeypatch):
    """Skip the trainer: its answer takes seconds and has its own tests."""
    monkeypatch.setattr(tuner.workflows.doctor, "_trainer", lambda command: ({}, [], ()))


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Make a folder the only one on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def ours(on_path):
    return script(on_path / "tune", OURS)


# The command on PATH


@pytest.mark.usefixtures("no_trainer")
def test_our_command_on_the_path_is_no_problem(ours, tmp_path):
    findings = examine(tmp_path, NONE)
    assert findings.problems == ()
    assert findings.facts["tune on path"] == str(ours)


@pytest.mark.usefixtures("no_trainer")
def test_the_tune_of_another_program_is_a_problem_with_its_remedy(on_path, tmp_path):
    foreign = script(on_path / "tune", RAYS)
    (problem,) = examine(tmp_path, NONE).problems
    assert f"'{foreign}', is another program" in problem
    for remedy in ("pip install --force-reinstall --no-deps .", "mamba-tune", "python -m tuner"):
        assert remedy in problem


@pytest.mark.usefixtures("no_trainer")
def test_the_first_tune_on_the_path_is_the_one_that_counts(ours, tmp_path, monkeypatch):
    foreign = script(tmp_path / "earlier" / "tune", RAYS)
    monkeypatch.setenv("PATH", f"{foreign.parent}:{ours.parent}")
    assert examine(tmp_path, NONE).facts["tune on path"] == str(foreign)
    monkeypatch.setenv("PATH", f"{ours.parent}:{foreign.parent}")
    assert examine(tmp_path, NONE).problems == ()


@pytest.mark.usefixtures("no_trainer", "on_path")
def test_no_tune_on_the_path_is_a_problem_with_its_remedy(tmp_path):
    (problem,) = examine(tmp_path, NONE).problems
    assert problem == (
        f"no `tune` is on the path; add '{Path(sys.executable).parent}' to PATH, or use `python -m tuner`"
    )


@pytest.mark.usefixtures("no_trainer")
def test_a_tune_that_is_not_text_is_another_program(on_path, tmp_path):
    script(on_path / "tune", "").write_bytes(b"\x7fELF\xff\xfe\x00")
    (problem,) = examine(tmp_path, NONE).problems
    assert "is another program" in problem


# The folder for studies


@pytest.mark.usefixtures("no_trainer", "ours")
def test_a_missing_folder_is_no_problem_and_is_not_created(tmp_path):
    findings = examine(tmp_path / "a" / "b", NONE)
    assert findings.problems == ()
    assert findings.facts["studies in"].startswith(f"{tmp_path / 'a' / 'b'} (")
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
@pytest.mark.usefixtures("no_trainer", "ours")
def test_an_unwritable_folder_is_a_problem_with_its_remedy(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    (problem,) = examine(locked / "studies", NONE).problems
    assert problem == f"the folder for studies must be writable, but '{locked}' is not; choose another with --home"


@pytest.mark.usefixtures("no_trainer", "ours")
def test_a_folder_below_a_file_is_a_problem(tmp_path):
    (tmp_path / "file").write_text("")
    assert len(examine(tmp_path / "file" / "studies", NONE).problems) == 1


# Packages


@pytest.mark.usefixtures("no_trainer", "ours")
def test_a_package_that_is_missing_is_a_problem_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(tuner.workflows.doctor, "_PACKAGES", ("optuna", "no-such-package"))
    findings = examine(tmp_path, NONE)
    assert findings.facts["optuna"].startswith("5.")
    assert findings.problems == (
        "no-such-package is not installed; run `make install` or `pip install .` in the project's folder",
    )


# The trainer


def saying(tmp_path, *lines, code=0):
    """Return the command of a trainer that always answers this."""
    path = script(tmp_path / "trainer", "\n".join(["#!/bin/sh", "read request", *lines, f"exit {code}", ""]))
    return [str(path)]


def test_a_trainer_that_crashes_is_a_problem_with_its_last_output(ours, tmp_path):
    broken = saying(tmp_path, "echo Traceback >&2", "echo 'ImportError: no torch' >&2", code=1)
    said = "the trainer does not start: the trainer ended with exit code 1: ImportError: no torch"
    assert examine(tmp_path, broken).problems == (said,)


def test_a_trainer_without_output_is_a_problem(ours, tmp_path):
    (problem,) = examine(tmp_path, saying(tmp_path)).problems
    assert problem == "the trainer does not start: the trainer ended with exit code 0"


def test_a_trainer_that_does_not_answer_is_a_problem(ours, tmp_path, monkeypatch):
    monkeypatch.setattr(tuner.workflows.doctor, "_TRAINER_TIMEOUT_S", 0.2)
    (problem,) = examine(tmp_path, saying(tmp_path, "/bin/sleep 30")).problems
    assert problem == "the trainer does not start: it did not answer in time"


def test_a_trainer_that_does_not_describe_itself_is_a_problem(ours, tmp_path):
    end = encode(EndRecord(outcome=Outcome.UNSUPPORTED))
    (problem,) = examine(tmp_path, saying(tmp_path, f"echo '{end}'")).problems
    assert problem.startswith("This needs a trainer that answers 'environment' requests, but ")


def test_the_answer_of_the_trainer_is_in_the_facts_and_problems(ours, tmp_path):
    report = EnvironmentRecord(
        versions={"torch": "2.14.1", "ultralytics": "8.4.0"},
        cuda="13.0",
        gpus=(Gpu(name="A", memory_gib=78.0), Gpu(name="B", memory_gib=11.9)),
        facts={"scan on cpu": "native", "scan on cuda:0": "triton (mamba_ssm: not installed)"},
        problems=("ultralytics 8.4.0 is not the version this was tested with",),
    )
    end = EndRecord(outcome=Outcome.COMPLETED)
    findings = examine(tmp_path, saying(tmp_path, f"echo '{encode(report)}'", f"echo '{encode(end)}'"))
    assert findings.problems == report.problems
    facts = findings.facts
    assert (facts["torch"], facts["cuda"], facts["gpus"]) == ("2.14.1", "13.0", "A (78.0 GiB), B (11.9 GiB)")
    assert (facts["scan on cpu"], facts["scan on cuda:0"]) == ("native", "triton (mamba_ssm: not installed)")


GPU_REPORT = EnvironmentRecord(versions={}, gpus=(Gpu(name="A", memory_gib=78.0, free_gib=77.2),))


@pytest.mark.parametrize(("gpus", "free_mib", "problems"), [(1, 64, 1), (1, 2048, 0), (0, 64, 0)])
def test_little_shared_memory_is_a_problem_for_gpus(ours, tmp_path, monkeypatch, gpus, free_mib, problems):
    usage = SimpleNamespace(total=64 << 20, free=free_mib << 20)
    monkeypatch.setattr(tuner.workflows.doctor.shutil, "disk_usage", lambda path: usage)
    report = replace(GPU_REPORT, gpus=GPU_REPORT.gpus[:gpus])
    answers = [f"echo '{encode(line)}'" for line in (report, EndRecord(outcome=Outcome.COMPLETED))]
    findings = examine(tmp_path, saying(tmp_path, *answers))
    assert len(findings.problems) == problems
    assert all("64 MiB are free; give a container more" in problem for problem in findings.problems)
    assert ("shared memory" in findings.facts) == bool(gpus)


def test_the_free_memory_of_a_gpu_is_among_the_facts(ours, tmp_path):
    answers = [f"echo '{encode(line)}'" for line in (GPU_REPORT, EndRecord(outcome=Outcome.COMPLETED))]
    assert examine(tmp_path, saying(tmp_path, *answers)).facts["gpus"] == "A (78.0 GiB, 77.2 free)"


# The version of ultralytics


def test_the_tested_version_of_ultralytics_is_no_problem(monkeypatch):
    monkeypatch.setattr(environment, "version", lambda package: environment.TESTED_VERSION)
    assert environment.version_notes() == ()


# github.com/ultralytics/ultralytics/issues/18027
@pytest.mark.parametrize("version", ["8.3.41", "8.3.42", "8.3.45", "8.3.46"])
def test_a_version_of_ultralytics_with_a_miner_must_be_removed(monkeypatch, version):
    monkeypatch.setattr(environment, "version", lambda package: version)
    (problem,) = environment.version_notes()
    assert problem == (
        f"ultralytics {version} contained malicious code on PyPI: remove it, check the machine, "
        f"then install ultralytics=={environment.TESTED_VERSION}"
    )


@pytest.mark.parametrize("version", ["8.3.43", "8.3.44", "9.0.0"])
def test_any_other_version_of_ultralytics_is_untested(monkeypatch, version):
    monkeypatch.setattr(environment, "version", lambda package: version)
    (problem,) = environment.version_notes()
    assert problem.startswith(f"ultralytics {version} is not the version this was tested with: pip install")


# The command line


def test_the_json_output_has_all_facts_and_problems(tmp_path):
    foreign = script(tmp_path / "bin" / "tune", RAYS)
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "doctor", "--json", "--home", "studies"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{foreign.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = json.loads(done.stdout)
    assert set(said) == {"version", "facts", "problems"}
    assert said["version"] == 1
    assert set(said["facts"]) >= {"python", "optuna", "ray", "torch", "ultralytics", "gpus", "cuda", "tune on path"}
    assert said["facts"]["scan on cpu"].partition(" ")[0] in ("native", "torch")
    assert any("is another program" in problem for problem in said["problems"])
    assert done.returncode == 5
    assert done.stderr == f"tune doctor found {len(said['problems'])} problem(s).\n"
    assert not (tmp_path / "studies").exists()
