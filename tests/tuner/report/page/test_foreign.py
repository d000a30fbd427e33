"""Report a study that another program made with Optuna."""

import json
import warnings

import optuna
import pytest
from typer.testing import CliRunner

from tuner.cli.main import app
from tuner.exceptions import UsageError
from tuner.report.page.charts.style import PAGE
from tuner.report.page.foreign import foreign_page
from tuner.report.page.page import render
from tuner.study import StoredStudy


def objective(trial):
    """Return a value with its minimum at x = 1. Add curves, a failure, and attributes that tune reads otherwise."""
    x, lr = trial.suggest_float("x", -5, 5), trial.suggest_float("lr", 1e-5, 1, log=True)
    trial.suggest_categorical("optimizer", ["SGD", "AdamW"])
    for name, value in {"params": "a text", "seconds": "soon", "directory": 5, "reason": [1]}.items():
        trial.set_user_attr(name, value)
    if trial.number == 3:
        raise ValueError
    for step in range(4):
        trial.report((x - 1) ** 2 + lr / (step + 1), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return (x - 1) ** 2


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{tmp_path_factory.mktemp('other')}/other.db"
    sampler = optuna.samplers.RandomSampler(seed=1)
    study = optuna.create_study(storage=url, study_name="least", sampler=sampler)
    study.optimize(objective, n_trials=12, catch=(ValueError,))
    most = optuna.create_study(storage=url, study_name="most", direction="maximize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        most.set_metric_names(["accuracy"])
    for value in (0.2, 0.9, 0.4):
        most.enqueue_trial({"x": value})
    most.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    optuna.create_study(storage=url, study_name="several", directions=["minimize", "maximize"])
    optuna.create_study(storage=url, study_name="empty")
    return url


@pytest.fixture
def opened(database):
    studies = []

    def open_study(name):
        studies.append(StoredStudy.open(database, name))
        return studies[-1]

    yield open_study
    for study in studies:
        study.close()


def texts(page):
    items = [item for section in page.sections for item in section.items]
    return [cell for item in items for row in getattr(item, "rows", ()) for cell in row]


def test_a_minimised_study_shows_the_trial_with_the_lowest_value(opened, database):
    best = optuna.load_study(storage=database, study_name="least").best_trial

    page = foreign_page(opened("least"))

    assert page.headline == f"Trial {best.number} has the lowest value: {best.value:.6g}."
    assert {str(best.params["x"]), str(best.params["lr"]), best.params["optimizer"]} <= set(texts(page))
    assert page.lead.startswith("12 trials. Another program made this study")
    json.dumps([chart.draw(PAGE) for chart in page.charts()], allow_nan=False)
    assert "<h1>least</h1>" in render(page)


def test_the_best_value_over_time_falls_in_a_minimised_study(opened):
    page = foreign_page(opened("least"))
    chart = next(chart for chart in page.charts() if chart.name == "best-over-cost")
    lines = [[row["best"] for row in data if "best" in row] for data in chart.draw(PAGE)["datasets"].values()]
    assert any(len(set(best)) > 1 for best in lines)
    assert all(best == sorted(best, reverse=True) for best in lines)


def test_a_maximised_study_shows_the_highest_value_under_its_name(opened):
    assert foreign_page(opened("most")).headline == "Trial 1 has the highest accuracy: 0.9."


def test_a_study_without_trials_says_so(opened):
    page = foreign_page(opened("empty"))
    assert (page.headline, page.sections) == ("No trial is complete.", ())


def test_a_study_with_several_objectives_is_refused_in_one_line(opened):
    with pytest.raises(UsageError, match=r"^A report needs a study with one objective, but 'several'[^\n]*$"):
        foreign_page(opened("several"))


def test_tune_report_writes_it_here_because_it_has_no_folder(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["report", "least", "--storage", database, "--home", str(tmp_path / "none")])
    assert (done.exit_code, done.stdout) == (0, "report.html\n")
    assert "<h1>least</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "none").exists()
