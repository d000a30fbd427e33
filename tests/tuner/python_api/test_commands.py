"""Use the Python API like the command line: it leaves its process unchanged, and stops cleanly."""

import inspect
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import typer

import tuner
from tests.conftest import SCRIPTED_TRAINER
from tuner.cli.main import app
from tuner.exceptions import DataError, RunStoppedError, SpaceError, UsageError
from tuner.python_api._arguments import option_arguments

ROOT = Path(__file__).parents[3]
SPACE = {
    "search": {"trials": 3, "epochs": 4, "rungs": [2], "reevaluation_runs": 0, "promote_epochs": 3},
    "parameters": {"optimizer": "SGD", "batch": 16, "imgsz": 64, "lr0": {"float": [0.0001, 0.1], "log": True}},
    "baseline": {"lr0": 0.01},
}


@pytest.fixture
def options(tmp_path, ray_cluster):
    """Return the options that all runs here have in common."""
    return {
        "data": "sample:20",
        "model": "mamba-yolo-n",
        "gpus": 0,
        "parallel": 2,
        "home": tmp_path / "studies",
        "study": "mine",
        "address": ray_cluster,
        "trainer": f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds 0.02",
    }


def test_a_run_returns_its_study_and_leaves_the_process_alone(options, capfd):
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    environment = dict(os.environ)

    study = tuner.run(SPACE, **options, promote_deterministic=False)

    assert capfd.readouterr() == ("", "")
    assert handlers == {s: signal.getsignal(s) for s in handlers}
    assert environment == dict(os.environ)
    assert (study.name, study.folder) == ("mine", options["home"] / "mine")
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    assert study.best.value == max(t.value for t in study.trials if t.value is not None)
    assert study.winner.trial == study.best
    assert study.final_run.trial == study.best.number
    assert study.params["deterministic"] is False
    assert "deterministic" not in study.best.params, "only the final run was to be faster"
    assert study.summary in repr(study)
    assert [row.name for row in tuner.studies(options["home"])] == ["mine"]


@pytest.mark.slow
def test_a_study_without_a_final_run_gets_one_by_promote(options):
    study = tuner.run(SPACE, **options, promote=False)
    assert study.final_run is None
    of_final_run = {name: options[name] for name in ("gpus", "address", "trainer")}
    assert tuner.promote(study, epochs=2, deterministic=False, **of_final_run) is study
    assert (study.final_run.state, study.final_run.epochs) == ("COMPLETE", 2)
    tuner.promote(study, epochs=2, **of_final_run)
    assert study.final_run.deterministic is False, "it resumes as it began"
    tuner.promote(study, epochs=2, deterministic=True, **of_final_run)
    assert study.final_run.deterministic is True


@pytest.mark.slow
def test_an_estimate_is_the_text_of_a_dry_run_and_leaves_no_study(options):
    lines = []
    without = {name: value for name, value in options.items() if name not in ("home", "study")}
    estimate = tuner.estimate(SPACE, **without, progress=lines.append)
    assert estimate[0].startswith("search: ")
    assert [line for line in lines if line.startswith("cost")] == [f"cost   {line}" for line in estimate]
    assert tuner.studies(options["home"]) == ()


@pytest.mark.slow
def test_a_single_training_returns_its_records(options, tmp_path):
    lines = []
    run = tuner.train(
        out=tmp_path / "run",
        data="sample:20",
        model="mamba-yolo-n",
        epochs=2,
        gpus=0,
        settings={"imgsz": 64, "batch": 2},
        progress=lines.append,
    )
    assert run.last_epoch == 2
    assert run.params["imgsz"] == 64
    assert (tmp_path / "run" / "weights" / "best.pt").exists()
    assert lines


@pytest.mark.slow
def test_the_lines_of_a_run_go_to_the_given_function_without_secrets(options):
    lines, commands = [], []

    def listen(line):
        lines.append(line)
        commands.extend(" ".join(p.cmdline()) for p in _children())

    tuner.run(SPACE, **options, promote=False, on_end="echo s3cret", progress=listen)
    assert lines[0] == f"study mine in {options['home'] / 'mine'}"
    assert any(line.startswith("trial 0 complete") for line in lines)
    assert lines[-1] == "s3cret"
    assert any("tuner.python_api._child" in command for command in commands)
    assert not any("s3cret" in command for command in commands)


@pytest.mark.slow
def test_a_run_in_another_thread_works_as_in_the_main_thread(options):
    found = []
    thread = threading.Thread(target=lambda: found.append(tuner.run(SPACE, **options, promote=False)))
    thread.start()
    thread.join(120)
    assert [len(study.trials) for study in found] == [3]


@pytest.mark.slow
def test_an_interrupt_stops_the_run_cleanly_and_the_same_call_resumes_it(options, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a notebook
    slow = {**options, "trainer": options["trainer"].replace("0.02", "0.1"), "promote": False}

    def interrupt_after_the_first_trial(line):
        if line.startswith("trial 0 complete"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="stopped by SIGINT"):
        tuner.run(SPACE, **slow, progress=interrupt_after_the_first_trial)
    study = tuner.open_study("mine", home=options["home"])
    assert "RUNNING" not in {trial.state.name for trial in study.trials}
    first = study.trials[0]
    assert first.state.name == "COMPLETE"

    resumed = tuner.run(SPACE, **slow)
    assert (resumed.trials[0], len(resumed.trials)) == (first, 3)


@pytest.mark.slow
def test_a_signal_to_the_run_is_an_error_that_says_how_to_resume(options):
    def stop(line):
        if line.startswith("slots"):
            (child,) = [p for p in _children() if "tuner.python_api._child" in p.cmdline()]
            child.terminate()

    with pytest.raises(RunStoppedError, match="stopped by SIGTERM; run the same command to resume"):
        tuner.run(SPACE, **{**options, "trainer": options["trainer"].replace("0.02", "1")}, progress=stop)


@pytest.mark.slow
def test_an_error_in_the_function_for_progress_stops_the_run(options):
    def fail(line):
        raise ValueError(line)

    with pytest.raises(ValueError, match="study mine"):
        tuner.run(SPACE, **options, progress=fail)
    assert [p for p in _children() if "tuner.python_api._child" in p.cmdline()] == []


@pytest.mark.slow
def test_a_run_stops_when_its_parent_is_killed(options, tmp_path):
    script = tmp_path / "script.py"
    slow = {**options, "home": str(options["home"]), "trainer": options["trainer"].replace("0.02", "1")}
    script.write_text(f"import tuner\ntuner.run({SPACE!r}, **{slow!r}, progress=True)\n")
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    with parent:
        next(line for line in parent.stdout if line.startswith("slots"))
        (child,) = _children(parent.pid)
        parent.kill()
        child.wait(60)
    assert not child.is_running()
    assert "RUNNING" not in {t.state.name for t in tuner.open_study("mine", home=options["home"]).trials}


def _children(pid=None):
    import psutil

    return psutil.Process(pid).children()


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"space": {**SPACE, "baseline": {}}}, SpaceError, "lr0"),
        ({"space": "no-such-space"}, SpaceError, "shipped spaces"),
        ({"data": "no/such.yaml"}, DataError, "does not exist"),
        ({"study": "a/b"}, UsageError, "letters, digits"),
        ({"metric": "mAP"}, SpaceError, "mAP50-95"),
        ({"gpus": -1}, UsageError, "--gpus"),
    ],
)
def test_wrong_arguments_raise_the_error_of_the_command_in_one_text(options, changes, error, said):
    with pytest.raises(error, match=said):
        tuner.run(**{"space": SPACE, **options, **changes})


@pytest.mark.parametrize("changes", [{}, {"trials": 0}], ids=["before the run", "in the run"])
def test_mistakes_in_a_mapping_name_no_temporary_file(options, changes):
    wrong = SPACE if changes else {**SPACE, "baseline": {}}
    with pytest.raises(SpaceError) as raised:
        tuner.run(wrong, **options, **changes)
    assert "tune-space-" not in str(raised.value)


def test_a_value_that_no_space_can_hold_is_a_space_error(options):
    with pytest.raises(SpaceError, match="text, numbers, lists and mappings"):
        tuner.run({"parameters": {"lr0": object()}}, **options)


def test_an_unknown_study_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="There is no study 'nothing'"):
        tuner.open_study("nothing", home=tmp_path)


def test_the_report_of_a_data_check_is_returned(options):
    report = tuner.check_data("sample:20", trainer=options["trainer"])
    assert report.data == "sample:20"
    assert report.refusal == ""


@pytest.mark.parametrize(
    ("function", "verb", "left_out"),
    [
        (tuner.run, "run", {"plain", "dry_run"}),
        (tuner.promote, "promote", {"plain", "home", "storage"}),  # the options of the study
        (tuner.train, "train", set()),
        (
            tuner.estimate,
            "run",
            {
                *("plain", "dry_run", "study", "home", "storage", "warm_start", "sampler", "seed", "metric"),
                *("validate_every_epoch", "max_hours", "gpu_hours", "no_improvement", "hang_after", "start_within"),
                *("on_end", "notify", "log", "cache_gib", "promote_deterministic"),
            },  # they do not change the estimate
        ),
    ],
)
def test_functions_have_the_options_of_their_verbs(function, verb, left_out):
    group = typer.main.get_command(app)
    options = {parameter.name for parameter in group.commands[verb].params} - left_out - {"help"}
    assert set(inspect.signature(function).parameters) - {"progress"} == options


@pytest.mark.parametrize(
    ("option", "value", "arguments"),
    [
        ("gpus", None, []),
        ("gpus", 0, ["--gpus=0"]),
        ("gpus", [0, 2, 5], ["--gpus=0,2,5"]),
        ("gpus", (3,), ["--gpus=3,"]),
        ("trials_per_gpu", 2, ["--trials-per-gpu=2"]),
        ("trials_per_gpu", "auto", ["--trials-per-gpu=auto"]),
        ("cache_gib", None, []),
        ("cache_gib", 0, ["--cache-gib=0"]),
        ("cache_gib", 1.5, ["--cache-gib=1.5"]),
        ("cache_gib", "auto", ["--cache-gib=auto"]),
        ("promote", False, ["--no-promote"]),
        ("promote_deterministic", False, ["--promote-fast"]),
        ("promote_deterministic", True, ["--promote-deterministic"]),
        ("promote_deterministic", None, []),
        ("deterministic", False, ["--fast"]),
        ("validate_every_epoch", True, ["--validate-every-epoch"]),
        ("validate_every_epoch", False, []),
        ("rungs", [3, 9], ["--rungs=3,9"]),
        ("warm_start", ["a", "b"], ["--warm-start=a", "--warm-start=b"]),
        ("settings", {"batch": 16, "cos_lr": True}, ["--set=batch=16", "--set=cos_lr=true"]),
        ("max_hours", 0.5, ["--max-hours=0.5"]),
    ],
)
def test_options_reach_the_command_in_its_own_form(option, value, arguments):
    assert list(option_arguments(option, value)) == arguments


@pytest.mark.slow
def test_the_examples_of_the_page_pass_mypy_strict(tmp_path):
    page = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    examples = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    assert len(examples) > 1
    file = tmp_path / "user.py"
    file.write_text("\n".join(examples) + "reveal_type(study.winner)\nreveal_type(study.best)\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", file]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert "tuner.training.final_run.Winner | None" in done.stdout
    assert "tuner.study._records.TrialRecord | None" in done.stdout
    assert done.returncode == 0, done.stdout
