"""`tune doctor --gpu` and `--cpu` on the command line."""

import json
import shlex
import sys

import pytest

from tests.conftest import SCRIPTED_TRAINER
from tuner.cli.main import main

SCRIPTED = (sys.executable, str(SCRIPTED_TRAINER))


@pytest.fixture
def doctor(tmp_path, monkeypatch, capfd):
    """Return a function that runs `tune doctor` in its own folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    tune = tmp_path / "bin" / "tune"
    tune.parent.mkdir()
    tune.write_text("from tuner.cli.main import main")
    tune.chmod(0o755)
    monkeypatch.setenv("PATH", str(tune.parent), prepend=":")

    def run(*arguments, trainer=SCRIPTED):
        with pytest.raises(SystemExit) as left:
            main(["doctor", "--trainer", shlex.join(trainer), *arguments])
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return run


def test_the_results_are_printed_and_written(doctor, tmp_path):
    code, out, err = doctor("--cpu", "--only", "memory", "--only", "loading", "--out", "reports")
    assert code == 0, err
    assert "## memory on cpu: passed, " in out
    assert "| cpu | yes | 12.3 | 1.5e-07 |" in out
    assert "loading on cpu ..." in err
    assert out.endswith("reports/gpu-check.json\n")
    assert [one["name"] for one in json.loads((tmp_path / "reports" / "gpu-check.json").read_text())["checks"]] == [
        "memory",
        "loading",
    ]


def test_as_json_only_the_report_is_printed(doctor):
    code, out, _ = doctor("--cpu", "--only", "memory", "--json")
    assert code == 0
    assert [one["status"] for one in json.loads(out)["checks"]] == ["passed"]


def test_a_gpu_is_checked_under_its_own_name(doctor):
    code, out, err = doctor("--gpu", "--only", "scan-accuracy", trainer=(*SCRIPTED, "--gpus", "2"))
    assert code == 0, err
    assert "## scan-accuracy on cuda:0: passed" in out
    assert "## scan-accuracy on cuda:1: passed" in out


def test_a_problem_fails_the_command_after_all_checks(doctor, tmp_path):
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "check-memory-wrong").touch()
    faulty = (*SCRIPTED, "--faults", str(tmp_path / "faults"))
    code, out, err = doctor("--cpu", "--only", "memory", "--only", "loading", trainer=faulty)
    assert code == 5
    assert "**Problem:** cpu computes nonsense" in out
    assert "## loading on cpu: passed" in out
    assert err.endswith("1 of 2 checks found a problem or did not end; see the report.\n")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--gpu",), 5, "--gpu needs a GPU that torch can use, but there is none"),
        (("--gpu", "--cpu"), 2, "--gpu and --cpu exclude each other, but both are given; omit one."),
        (("--only", "memory"), 2, "--only belongs to the checks of a device; add --gpu, or --cpu to try them."),
        (("--out", "reports"), 2, "--out belongs to the checks of a device; add --gpu"),
        (("--cpu", "--only", "speed"), 2, "--only must be one of scan-tuning, scan-accuracy, "),
    ],
)
def test_wrong_options_are_reported_in_one_line(doctor, arguments, code, told):
    given, _, err = doctor(*arguments)
    assert given == code
    assert told in err.splitlines()[-1]


@pytest.mark.slow
def test_the_small_form_passes_with_the_real_trainer(doctor, tmp_path):
    code, out, err = doctor("--cpu", trainer=(sys.executable, "-m", "trainer", "serve"))
    assert code == 0, out + err
    statuses = {one["name"]: one["status"] for one in json.loads((tmp_path / "gpu-check.json").read_text())["checks"]}
    assert statuses.pop("ranks") == "skipped"
    assert set(statuses.values()) == {"passed"}
