"""Trackers have every value of a study's record once, whatever happens to the run or to the tracker."""

import contextlib
import math
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.arena import Arena, assert_orderly_end
from tests.support.leaks import leaks
from tests.support.tracker_files import of_mlflow, of_tensorboard, of_wandb
from tuner.study import StoredStudy, StudyPaths
from tuner.trackers.runs import STUDY, runs_of

CANARY = "ca0" + secrets.token_hex(20)[3:]
"""A key as W&B makes them."""

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow uses it

SPACE = """
search: {epochs: 9, rungs: [3], strategy: asha-stopping, reduction_factor: 3,
         trials: 6, sampler: random, promote_epochs: 4, reevaluation_runs: 6}
parameters:
  optimizer: SGD
  batch: 16
  imgsz: 64
  lr0: {float: [0.0001, 0.9], log: true}
baseline: {lr0: 0.1}
data: sample
model: mamba-yolo-n
log: [tensorboard]
"""


def arena_in(folder: Path, address: str | None, **variables: str) -> Arena:
    folder.mkdir(parents=True, exist_ok=True)
    arena = Arena(folder, trials=6, address=address)
    (folder / "space.yaml").write_text(SPACE)
    known = ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "WANDB_PROJECT", "WANDB_DIR", "WANDB_API_KEY")
    arena.environment = {k: v for k, v in arena.environment.items() if k not in known} | variables
    return arena


def expected(arena):
    """Return the runs of the study's database and the trainers' files."""
    paths = StudyPaths(arena.study_folder)
    study = StoredStudy.in_folder(arena.study_folder)
    try:
        return runs_of(study, paths, state="COMPLETE")
    finally:
        study.close()


def curves(run):
    """Return the curves of a run by name, as readers of trackers return them."""
    names = sorted({name for values in run.points.values() for name in values})
    return {name: [(e, v[name]) for e, v in sorted(run.points.items()) if name in v] for name in names}


@pytest.fixture(scope="module", params=["undisturbed", pytest.param("killed", marks=pytest.mark.slow)])
def logged_study(request, tmp_path_factory, ray_cluster):
    """Run a study that three trackers log; if its driver is killed in the middle, the same command resumes it."""
    folder = tmp_path_factory.mktemp("logged")
    stores = {"WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    arena = arena_in(folder, ray_cluster, **stores, WANDB_API_KEY=CANARY, MLFLOW_TRACKING_PASSWORD=CANARY)
    more = ["--log", "tensorboard", "--log", "mlflow", "--log", "wandb"]
    if request.param == "killed":
        process = arena.start(epoch_seconds=0.5, more=more, promote=True)
        try:
            arena.wait_for(lambda: len(list(arena.study_folder.glob("wandb/offline-run-*-trial-000*"))) >= 2)
            arena.wait_for(lambda: mlflow_points(folder / "mlflow.db") >= 3)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    code, output = arena.run(more=more, promote=True)
    assert_orderly_end(code, output, 0)
    assert "does not log" not in output, output
    assert "did not take everything" not in output, output
    yield arena
    arena.kill_everything()


def drivers_of(arena) -> int:
    """Count the drivers that the study has had."""
    return (arena.study_folder / "driver.log").read_text().count(" study s in ")


def mlflow_points(database: Path) -> int:
    """Count the points of all curves, without making tables that the driver is making."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_a_study_has_all_kinds_of_runs(logged_study):
    runs = expected(logged_study)
    kinds = {run.kind.value for run in runs.values()}
    assert kinds == {"study", "trial", "re-evaluation", "final run"}
    assert {run.state for run in runs.values()} >= {"COMPLETE", "PRUNED"}


def test_tensorboard_has_each_value_of_the_study_once(logged_study):
    runs, logged = expected(logged_study), of_tensorboard(logged_study.study_folder / "tensorboard")
    assert set(logged) == set(runs)
    for key, run in runs.items():
        found = logged[key]
        assert found.points == {
            name: [(epoch, pytest.approx(value, rel=1e-6)) for epoch, value in points]
            for name, points in curves(run).items()
        }
        assert found.summary["state"] == (f"{run.state}: {run.reason}" if run.reason else run.state)
        assert {name: found.summary[name] for name in run.summary} == pytest.approx(dict(run.summary), rel=1e-6)
        assert {name: found.summary[name] for name in run.texts} == dict(run.texts)
        assert found.parts == 1, "one file of events"
        assert key == STUDY or found.params == dict(run.params)
    assert "params.yaml" in logged[STUDY].summary


def test_mlflow_has_each_value_of_the_study_once(logged_study):
    runs, logged = expected(logged_study), of_mlflow(f"sqlite:///{logged_study.folder}/mlflow.db", "s")
    assert set(logged) == set(runs)
    status = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
    for key, run in runs.items():
        found, curve = logged[key], curves(run)
        assert {name: found.points[name] for name in curve} == curve
        assert {name: found.points[name][-1][1] for name in run.summary} == dict(run.summary)
        assert all(len(found.points[name]) == 1 for name in run.summary), found.points
        assert found.params == {name: str(value) for name, value in run.params.items()}
        assert found.state == f"{run.state} {status[run.state]}"
        assert found.summary.get("tune.reason", "") == run.reason
        assert {name: found.summary[f"tune.{name}"] for name in run.texts} == dict(run.texts)
    assert logged[STUDY].summary["files"] == ["params.yaml", "report.html"]


def test_wandb_has_each_value_of_the_study_once(logged_study):
    runs, logged = expected(logged_study), of_wandb(logged_study.study_folder / "wandb")
    assert set(logged) == set(runs)
    for key, run in runs.items():
        found = logged[key]
        assert dict(found.points) == curves(run)
        assert {n: v for n, v in found.params.items() if n != "_wandb"} == dict(run.params)
        assert (found.state, found.summary["reason"]) == (run.state, run.reason)
        said = {**run.summary, **run.texts}
        assert {name: found.summary[name] for name in said} == said
    assert logged[STUDY].parts == drivers_of(logged_study), "each driver has a part of its own, with the same id"
    assert logged[STUDY].summary["files"] == ["params.yaml", "report.html"]


def test_the_verdict_is_logged_in_words_and_numbers(logged_study):
    logged = of_mlflow(f"sqlite:///{logged_study.folder}/mlflow.db", "s")[STUDY]
    assert "on 3 paired seeds" in logged.summary["tune.verdict"]
    (gain,) = logged.points["gain"]
    assert math.isfinite(gain[1])


def test_keys_of_trackers_are_in_no_file_and_on_no_command_line(logged_study):
    assert leaks(CANARY, [logged_study.folder], []) == []


@pytest.mark.slow
def test_another_run_of_a_finished_study_adds_nothing(logged_study):
    before = of_mlflow(f"sqlite:///{logged_study.folder}/mlflow.db", "s")
    code, output = logged_study.run(more=["--log", "mlflow"], promote=True)
    assert_orderly_end(code, output, 0)
    after = of_mlflow(f"sqlite:///{logged_study.folder}/mlflow.db", "s")
    assert {key: run.points for key, run in after.items()} == {key: run.points for key, run in before.items()}


@pytest.mark.slow
def test_a_space_chooses_trackers_and_the_command_line_overrides_it(tmp_path, ray_cluster):
    arena = arena_in(tmp_path / "a", ray_cluster)
    code, output = arena.run(more=["--log", "none", "--trials", "1"])
    assert_orderly_end(code, output, 0)
    assert not (arena.study_folder / "tensorboard").exists()
    assert not (arena.study_folder / "tracking-id").exists()
    code, output = arena.run(more=["--trials", "2"])
    assert_orderly_end(code, output, 0)
    assert (arena.study_folder / "tensorboard" / "trial-0001").is_dir()


@pytest.fixture
def mlflow_server(tmp_path):
    """Yield an MLflow server on this machine, in its own process group."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "files"),
    ]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen([*command, *stores], stdout=log, stderr=log, process_group=0)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/health")
        yield server, f"http://127.0.0.1:{port}"
    finally:
        with_group_killed(server)


def wait_until_healthy(url: str, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.2)


def with_group_killed(server) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.mark.slow
def test_a_server_has_each_value_and_the_files_of_a_study(tmp_path, ray_cluster, mlflow_server):
    _, url = mlflow_server
    arena = arena_in(tmp_path / "a", ray_cluster, MLFLOW_TRACKING_URI=url)
    code, output = arena.run(more=["--log", "mlflow"], promote=True)
    assert_orderly_end(code, output, 0)
    runs, logged = expected(arena), of_mlflow(url, "s")
    assert set(logged) == set(runs)
    assert all({name: logged[key].points[name] for name in curves(run)} == curves(run) for key, run in runs.items())
    assert logged[STUDY].summary["files"] == ["params.yaml", "report.html"]


@pytest.mark.slow
def test_a_server_that_is_killed_during_a_run_costs_one_warning_and_no_trial(tmp_path, ray_cluster, mlflow_server):
    server, url = mlflow_server
    arena = arena_in(tmp_path / "a", ray_cluster, MLFLOW_TRACKING_URI=url)
    process = arena.start(epoch_seconds=0.5, more=["--log", "mlflow"], promote=True)
    arena.wait_for(lambda: len(arena.events("epoch")) >= 6)
    with_group_killed(server)
    output, _ = process.communicate(timeout=180)
    assert_orderly_end(process.returncode, output, 0)
    assert output.count("warning: mlflow") == 1, output
    assert {trial["state"] for trial in arena.status()["trials"]} <= {"COMPLETE", "PRUNED"}
    assert arena.status()["final_run"]["state"] == "COMPLETE"


@pytest.mark.slow
def test_a_server_that_never_answers_costs_one_warning_and_seconds_at_the_end(tmp_path, ray_cluster):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as deaf:  # only the kernel accepts connections
        url = f"http://user:s3cret@127.0.0.1:{deaf.getsockname()[1]}"
        arena = arena_in(tmp_path / "a", ray_cluster, MLFLOW_TRACKING_URI=url, MLFLOW_HTTP_REQUEST_TIMEOUT="600")
        process = arena.start(more=["--log", "mlflow", "--trials", "2"])
        arena.wait_for(lambda: (arena.study_folder / "params.yaml").exists())
        written_s = time.monotonic()
        output, _ = process.communicate(timeout=60)
    assert time.monotonic() - written_s < 20
    assert_orderly_end(process.returncode, output, 0)
    assert [line for line in output.splitlines() if line.startswith("warning: mlflow")] == [
        "warning: mlflow did not take everything within 10 s; run the same command again to log what is missing"
    ]
    assert "s3cret" not in output
    assert "s3cret" not in (arena.study_folder / "driver.log").read_text()
    assert arena.processes() == []
