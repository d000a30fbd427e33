"""Log with each tracker's own library: a resumed run continues, and a run reads back the same."""

import json
import math
import socket
import time
from dataclasses import replace

import pytest

from tests.support.fresh_process import loaded_below, modules_loaded_by
from tests.support.tracker_files import of_mlflow, of_tensorboard, of_wandb
from tests.support.wandb_server import wandb_server
from tests.tuner.trackers.conftest import RUN
from tuner.trackers.messages import Kind, LoggedRun
from tuner.trackers.process import TrackerProcess

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow uses it

TRACKERS = ["tensorboard", "mlflow", "wandb"]
QUICK_TRACKERS = ["tensorboard", pytest.param("mlflow", marks=pytest.mark.slow), "wandb"]
LATER = replace(
    RUN,
    state="PRUNED",
    reason="early stop at epoch 4",
    points={**RUN.points, 4: {"train/box": math.nan, "mAP50-95": 0.5}},
    last_epoch=4,
    summary={"seconds": 8.0},
    texts={"device": "CPU"},
)
STUDY = LoggedRun(key="study", kind=Kind.STUDY, name="s", state="RUNNING", params={"metric": "mAP50-95"})


@pytest.fixture
def read_back(paths, mlflow_uri):
    """Read what a tracker has of the study."""

    def read(tracker):
        if tracker == "tensorboard":
            return of_tensorboard(paths.tensorboard)
        return of_mlflow(mlflow_uri, "s") if tracker == "mlflow" else of_wandb(paths.root / "wandb")

    return read


@pytest.mark.parametrize("tracker", TRACKERS)
def test_the_process_of_a_tracker_imports_nothing_that_trains_or_searches(tracker, subject, mlflow_uri):
    loaded = modules_loaded_by(
        "from tuner.trackers.messages import Subject\n"
        "from tuner.trackers.sender import tracker_of\n"
        f"tracker_of({tracker!r}, {subject!r})"
    )
    assert "tuner.trackers.sender" in loaded
    assert loaded_below({"torch.nn", "ultralytics", "ray", "optuna"}, loaded) == set()


def log_all(tracker, subject, *runs):
    process = TrackerProcess(tracker, subject, 60.0)
    assert [process.log(run) for run in runs] == [""] * len(runs)
    assert process.close(20.0) == ""


@pytest.mark.parametrize("tracker", TRACKERS)
def test_another_process_continues_a_run_without_a_point_twice(tracker, subject, read_back):
    log_all(tracker, subject, STUDY, RUN)
    time.sleep(1.0)  # W&B names folders by time, to the second
    log_all(tracker, subject, STUDY, LATER)
    found = read_back(tracker)["trial-0003"]
    assert found.points["mAP50-95"] == [(3, 0.25), (4, 0.5)]
    assert found.points["train/box"] == [(1, 2.0), (3, 1.0), (4, pytest.approx(math.nan, nan_ok=True))]
    assert found.state.startswith("PRUNED")


@pytest.mark.parametrize("tracker", QUICK_TRACKERS)
def test_a_run_that_was_logged_to_its_end_stays_as_it_is(tracker, subject, read_back):
    for _ in range(2):
        log_all(tracker, subject, LATER)
        time.sleep(1.0)
    found = read_back(tracker)["trial-0003"]
    assert [epoch for epoch, _ in found.points["train/box"]] == [1, 3, 4]
    assert found.parts == 1


@pytest.mark.parametrize("tracker", QUICK_TRACKERS)
def test_points_in_parts_are_the_curve(tracker, subject, read_back):
    parts = [replace(LATER, state="RUNNING", points={epoch: values}) for epoch, values in LATER.points.items()]
    late = replace(LATER, points={4: {"recall": 0.1}})
    log_all(tracker, subject, *parts, late)
    found = read_back(tracker)["trial-0003"]
    assert [epoch for epoch, _ in found.points["train/box"]] == [1, 3, 4]
    assert found.points["recall"] == [(4, pytest.approx(0.1))]


def test_wandb_keeps_projects_apart(subject, paths, monkeypatch, read_back):
    log_all("wandb", subject, LATER)
    monkeypatch.setenv("WANDB_PROJECT", "another")
    time.sleep(1.0)
    log_all("wandb", subject, LATER)
    assert read_back("wandb")["trial-0003"].parts == 2


@pytest.mark.slow
def test_mlflow_uses_the_experiment_of_the_environment(subject, monkeypatch, mlflow_uri):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "detectors")
    log_all("mlflow", subject, STUDY, LATER)
    found = of_mlflow(mlflow_uri, "detectors")
    assert found["trial-0003"].summary["tune.study"] == "s"
    assert "mlflow.parentRunId" in found["trial-0003"].summary


@pytest.fixture
def wandb_online(monkeypatch):
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        yield server


def test_a_run_in_wandb_continues_from_what_the_server_has(subject, paths, wandb_online):
    log_all("wandb", subject, RUN)
    run = wandb_online.runs[f"{subject.study_id}-{RUN.key}"]
    assert [row["epoch"] for row in run.rows] == [1, 3]
    paths.wandb_epochs.unlink()  # the server knows it
    log_all("wandb", subject, LATER)
    assert [row["epoch"] for row in run.rows] == [1, 3, 4]
    assert (run.summary["state"], run.summary["reason"], run.exit_code) == ("PRUNED", LATER.reason, 0)
    assert {name: run.config[name]["value"] for name in RUN.params} == dict(RUN.params)


def test_wandb_gets_neither_host_nor_program_nor_source(subject, wandb_online):
    log_all("wandb", subject, LATER)
    (run,) = wandb_online.runs.values()
    sent = json.dumps(run.config) + json.dumps(run.summary)
    assert socket.gethostname() not in sent
    assert "sender" not in sent
