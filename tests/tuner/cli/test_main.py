"""The command: its verbs, their help, and its exit codes."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import tuner.exceptions
from tuner.cli.main import EXIT_CODES, app, main
from tuner.exceptions import TunerError
from tuner.system.signals import Interrupted

ROOT = Path(__file__).parents[3]
VERBS = typer.main.get_command(app).commands
DOCUMENTED = {int(code) for part in re.findall(r"(\d+(?:, \d+)*) [a-z]", EXIT_CODES) for code in part.split(", ")}


def all_errors(kind=TunerError):
    return {kind}.union(*(all_errors(child) for child in kind.__subclasses__()))


def help_of(*arguments):
    done = CliRunner().invoke(app, [*arguments, "--help"], prog_name="tune", env={"COLUMNS": "100", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.output
    return done.output


def test_the_verbs_are_the_documented_ones():
    assert set(VERBS) == {
        "run",
        "simulate",
        "status",
        "compare",
        "import-results",
        "report",
        "train",
        "promote",
        "export",
        "dashboard",
        "sample-data",
        "slurm-script",
        "submit",
        "queue",
        "logs",
        "stop",
        "serve",
        "token",
        "doctor",
        "data",
        "diagnose",
        "db",
        "preview",
    }


def test_help_names_every_verb_and_the_exit_codes():
    text = help_of()
    for verb in VERBS:
        assert re.search(rf"^│ {verb} ", text, re.MULTILINE), verb
    assert "Exit codes: 0 done" in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_says_how_to_use_it(verb):
    text = help_of(verb)
    assert f"Usage: tune {verb}" in text
    assert VERBS[verb].help.splitlines()[0][:40] in text


@pytest.mark.parametrize(("verb", "name"), [(verb, p.name) for verb in VERBS for p in VERBS[verb].params])
def test_every_option_is_in_the_help_of_its_verb(verb, name):
    parameter = next(p for p in VERBS[verb].params if p.name == name)
    flags = [flag for flag in parameter.opts if flag.startswith("--")]
    text = help_of(verb)
    assert all(flag in text for flag in flags)


@pytest.mark.parametrize("verb", ["status", "promote", "export", "dashboard"])
def test_all_verbs_about_a_study_find_it_the_same_way(verb):
    assert {"study", "home", "storage"} <= {p.name for p in VERBS[verb].params}


def test_export_takes_several_studies_and_the_others_one():
    several = {verb for verb in VERBS for p in VERBS[verb].params if p.name == "study" and p.nargs == -1}
    assert several == {"export"}


def test_every_exit_code_of_an_error_is_documented():
    assert {error.exit_code for error in all_errors()} <= DOCUMENTED
    assert {Interrupted(signum).exit_code for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)} <= DOCUMENTED


def test_every_documented_exit_code_can_occur():
    of_errors = {error.exit_code for error in all_errors()}
    signals = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    of_signals = {Interrupted(signum).exit_code for signum in signals}
    assert {0, *of_errors, *of_signals} == DOCUMENTED


def test_no_two_errors_share_an_exit_code():
    codes = [error.exit_code for error in all_errors() if "exit_code" in vars(error)]
    assert len(codes) == len(set(codes))


def test_a_scheduler_that_warns_is_asked_to_requeue():
    assert {Interrupted(signum).exit_code for signum in (signal.SIGUSR1, signal.SIGUSR2)} == {75}


def test_the_tree_of_errors_is_drawn_with_its_codes():
    drawn = dict(re.findall(r"[├└]── (\w+)\s+(\d*) ", tuner.exceptions.__doc__))
    own_code = {error: str(error.exit_code) if "exit_code" in vars(error) else "" for error in all_errors()}
    assert drawn == {error.__name__: code for error, code in own_code.items() if error is not TunerError}


def python_m_tuner(*arguments):
    command = [sys.executable, "-m", "tuner", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_python_m_tuner_is_the_same_command():
    done = python_m_tuner("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: tune [OPTIONS] COMMAND" in done.stdout


def test_without_a_verb_the_help_is_shown_with_the_exit_code_of_a_usage_error():
    done = python_m_tuner()
    assert done.returncode == 2
    assert "Usage: tune [OPTIONS] COMMAND" in done.stdout + done.stderr


def test_the_command_starts_without_what_takes_seconds_to_import():
    program = "import sys, tuner.cli.main; print({'ray', 'torch', 'optuna_dashboard'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("verb", "way"),
    [("list", "tune status"), ("ls", "tune status"), ("show", "tune status STUDY"), ("kill", "SIGTERM"),
     ("resume", "tune run"), ("rm", "folder"), ("best", "tune export")],
)  # fmt: skip
def test_a_verb_of_another_tool_is_answered_with_the_right_one_in_one_line(capsys, verb, way):
    with pytest.raises(SystemExit) as left:
        main([verb, "s"])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"There is no verb '{verb}'; ")
    assert way in line
    assert verb not in VERBS
