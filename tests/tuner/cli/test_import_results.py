"""`tune import-results`: it reports used, changed and skipped values, and its file works as a warm start."""

import re

import pytest

from tests.support.ultralytics_files import TUNED, tune_results_line
from tuner.cli.main import main
from tuner.search.warm_start import MOST
from tuner.training.warm_start_file import read_configurations

SPACE = """
parameters:
  optimizer: {choice: [SGD, AdamW]}
  lr0: {float: [0.001, 0.1], log: true}
  batch: {choice: [8, 16]}
  mosaic: 1.0
baseline: {optimizer: SGD, lr0: 0.01, batch: 16}
"""


@pytest.fixture
def tune(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in this process, in a folder with a space and tuning results."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(SPACE)
    values = TUNED["8.4.0"]
    rates = (0.01, 0.5, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07)
    text = "".join(tune_results_line(0.9 - rate, {**values, "lr0": rate}) for rate in rates)
    text += tune_results_line(0.0, values) + tune_results_line(0.8, {**values, "batch": 64}) + '{"iteration": 11, "fit'
    (tmp_path / "tune_results.ndjson").write_text(text)

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main(["import-results", *arguments])
        printed, error = capsys.readouterr()
        return left.value.code, re.sub(r"\s+", " ", printed), error

    return run


def test_everything_that_happens_to_a_configuration_is_reported(tune):
    code, printed, _ = tune("tune_results.ndjson", "--space", "own.yaml")
    assert code == 0
    for said in (
        "tune_results.ndjson: 11 configurations read, 9 usable",
        "left out: line 9: fitness 0: training failed, or learned nothing",
        "left out: line 11: cut off: the tuning was stopped, or is still running",
        "left out: 1 outside of the space own: `batch` 64 is not one of 8, 16",
        "clipped to the ranges of the space: lr0 of 1",
        "dropped, because the space does not have them: bgr, box,",
        "dropped, because the space fixes them: mosaic",
        "not in the file, so the space's default is used: optimizer",
        "warning: the file does not name the optimizer of its lr0 and momentum; add --set optimizer=NAME",
        "To try first, best first: 5 of 8 that fit.",
        "fitness from elsewhere is no result of the search",
    ):
        assert said in printed


def test_the_written_file_has_the_best_and_not_the_default(tune, tmp_path):
    tune("tune_results.ndjson", "--space", "own.yaml", "-o", "first.yaml")
    candidates = read_configurations(tmp_path / "first.yaml").source.ranked
    assert [candidate.values["lr0"] for candidate in candidates] == [0.02, 0.03, 0.04, 0.05, 0.06]
    assert len(candidates) == MOST
    assert "  # fitness 0.8800, tune_results.ndjson:3\n" in (tmp_path / "first.yaml").read_text()


def test_the_optimizer_of_the_tuning_can_be_named(tune, tmp_path):
    code, printed, _ = tune("tune_results.ndjson", "--space", "own.yaml", "--set", "optimizer=AdamW")
    assert code == 0
    assert "warning" not in printed
    candidates = read_configurations(tmp_path / "warm_start.yaml").source.ranked
    assert {candidate.values["optimizer"] for candidate in candidates} == {"AdamW"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["gone.csv", "--space", "own.yaml"], 2, "'gone.csv' cannot be read"),
        (["tune_results.ndjson", "--space", "gone"], 3, "there is no 'gone'"),
        (["tune_results.ndjson", "--space", "own.yaml", "--set", "optimizer=Lion"], 3, "but got 'Lion'"),
        (["tune_results.ndjson", "--space", "own.yaml", "--set", "batch=64"], 2, "none of 'tune_results.ndjson' fits"),
        (["tune_results.ndjson", "--space", "own.yaml", "--set", "lr0=0.01"], 2, "but none does"),
        (["tune_results.ndjson"], 2, "Missing option '--space'"),
    ],
)
def test_wrong_input_is_refused_in_one_line_and_nothing_is_written(tune, tmp_path, arguments, code, said):
    given, printed, error = tune(*arguments)
    assert (given, printed) == (code, "")
    assert said in error.splitlines()[-1]
    assert not (tmp_path / "warm_start.yaml").exists()
