"""`tune diagnose` on the command line."""

import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from tests.tuner.diagnosis.conftest import CURVES
from tuner.cli.main import app, main


@pytest.fixture
def tune(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        done = CliRunner().invoke(app, ["diagnose", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    return run


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main(["diagnose", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert (left.value.code, out, err.count("\n")) == (2, "", 1)
    return err


def arguments_of(path):
    return yaml.safe_load(path.read_text())


def test_a_healthy_run_is_called_normal_and_nothing_is_to_be_changed(tune, tmp_path):
    said = tune(str(CURVES / "healthy"), "--write", "next.yaml")
    assert "NORMAL" in said
    assert "nothing to change; next.yaml was not written" in said
    assert list(tmp_path.iterdir()) == []


def test_a_finding_has_evidence_remedy_changes_and_the_command_to_type_next(tune):
    said = tune(str(CURVES / "lr-too-low"))
    for part in (
        "LOSS-NOT-FALLING",
        "from 16 to 15.6",
        "raise the learning rate",
        "lr0: 1e-05 -> 0.01",
        "--write next.yaml",
    ):
        assert part in said


def test_the_file_has_all_arguments_of_the_run_with_the_changes_and_not_where_it_wrote(tune, tmp_path):
    said = tune(str(CURVES / "lr-too-low"), "--write", "next.yaml")
    assert "tune train --params next.yaml" in said
    before, after = arguments_of(CURVES / "lr-too-low" / "args.yaml"), arguments_of(tmp_path / "next.yaml")
    assert after == {
        name: value
        for name, value in {**before, "lr0": 0.01}.items()
        if value is not None and name not in {"save_dir", "project", "name", "exist_ok", "resume", "cfg"}
    }


def test_small_values_are_written_so_that_yolo_reads_values(tune, tmp_path):
    shutil.copytree(CURVES / "tiny-overfits", "run")
    text = (tmp_path / "run" / "args.yaml").read_text()
    (tmp_path / "run" / "args.yaml").write_text(
        text.replace("lr0: 0.002", "lr0: 1.0e-05").replace("freeze: null", "freeze: [0, 1]")
    )
    tune("run", "--write", "next.yaml")
    after = arguments_of(tmp_path / "next.yaml")
    assert (after["lr0"], after["mixup"], after["freeze"]) == (1e-5, 0.15, [0, 1])


def test_the_model_of_a_resumed_run_must_be_named(tune, tmp_path):
    shutil.copytree(CURVES / "lr-too-low", "run")
    text = (tmp_path / "run" / "args.yaml").read_text()
    (tmp_path / "run" / "args.yaml").write_text(text.replace("resume: false", "resume: run/weights/last.pt"))
    said = tune("run", "--write", "next.yaml")
    assert "tune train --params next.yaml --model MODEL" in said
    assert "model" not in arguments_of(tmp_path / "next.yaml")


def test_json_says_the_same(tune):
    said = json.loads(tune(str(CURVES / "tiny-overfits"), "--json"))
    assert (said["version"], said["condition"], said["epochs"]) == (1, "overfitting", 100)
    assert said["learning"] == "overfitting"
    assert said["changes"]["patience"] == 30
    assert said["grade"]["mark"] == "below the targets"


@pytest.mark.parametrize(
    ("renamed", "task", "unknown"),
    [
        (
            "train/odd_loss",
            "detect",
            ["train/odd_loss: unrecognised column", "part of the training loss: train/dfl_loss is missing"],
        ),
        ("metrics/mAP50(M)", "segment", []),
        ("metrics/accuracy_top1", "classify", []),
    ],
)
def test_rules_that_are_not_judged_are_named_in_text_and_json(tune, tmp_path, renamed, task, unknown):
    shutil.copytree(CURVES / "healthy", "run")
    column = "train/dfl_loss" if renamed.startswith("train") else "metrics/mAP50(B)"
    table = (tmp_path / "run" / "results.csv").read_text().replace(column, renamed)
    (tmp_path / "run" / "results.csv").write_text(table)
    (tmp_path / "run" / "args.yaml").unlink()
    said = json.loads(tune("run", "--json"))
    assert (said["condition"], said["task"], said["unknown"]) == ("not-judged", task, unknown)
    words = tune("run")
    assert "NOT JUDGED" in words
    assert "NORMAL" not in words
    assert "nothing to change, judging by the available data" in words


def test_a_run_whose_validation_overflows_keeps_its_learning_rate(tune, tmp_path):
    shutil.copytree(CURVES / "healthy", "run")
    header, *rows = (tmp_path / "run" / "results.csv").read_text().splitlines()
    at = header.split(",").index("val/cls_loss")
    cells = [row.split(",") for row in rows]
    overflown = [",".join([*row[:at], "inf", *row[at + 1 :]]) for row in cells]
    (tmp_path / "run" / "results.csv").write_text("\n".join([header, *overflown]) + "\n")
    said = tune("run", "--write", "next.yaml")
    assert "VALIDATION-OVERFLOW" in said
    assert "DIVERGED" not in said
    assert "no argument needs to change; next.yaml was not written" in said
    assert not (tmp_path / "next.yaml").exists()


def test_an_existing_file_is_replaced_as_by_export(tune, tmp_path):
    (tmp_path / "next.yaml").write_text("old")
    tune(str(CURVES / "lr-too-low"), "--write", "next.yaml")
    assert arguments_of(tmp_path / "next.yaml")["lr0"] == 0.01


@pytest.mark.parametrize("target", ["args.yaml", "next.txt", "next"])
def test_a_target_that_yolo_would_not_take_or_that_is_the_runs_own_is_refused(tmp_path, capsys, target):
    assert "next.yaml" in refused(capsys, CURVES / "lr-too-low", "--write", tmp_path / target)
    assert list(tmp_path.iterdir()) == []


def test_without_the_arguments_of_the_run_nothing_is_written(tmp_path, capsys):
    shutil.copy(CURVES / "lr-too-low" / "results.csv", tmp_path)
    assert "args.yaml" in refused(capsys, tmp_path, "--write", tmp_path / "next.yaml")
    assert not (tmp_path / "next.yaml").exists()


def test_a_path_without_a_run_is_reported_in_one_line_with_code_2(tmp_path, capsys):
    assert "neither" in refused(capsys, tmp_path)
    assert "missing" in refused(capsys, tmp_path / "missing")


def test_a_name_with_control_sequences_is_shown_harmlessly(tune, tmp_path):
    shutil.copytree(CURVES / "lr-too-low", tmp_path / "a\x1b[2Jb")
    said = tune(str(tmp_path / "a\x1b[2Jb"), "--write", "next.yaml")
    assert "\x1b" not in said
    assert "\x1b" not in (tmp_path / "next.yaml").read_text()
