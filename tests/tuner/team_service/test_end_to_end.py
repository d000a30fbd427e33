"""Submit a study over REST to a service with a real Ray cluster, and follow it to its winner."""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import SCRIPTED_TRAINER
from tests.support.ray_head import RayHead
from tests.support.team_service import SPACE
from tests.tuner.team_service.test_server import serving, token_of

_WAIT_S = 300


@pytest.fixture
def head(tmp_path):
    """Start a cluster with the home and the trainer in its environment, as an operator sets them."""
    trainer = shlex.join([sys.executable, str(SCRIPTED_TRAINER), "--epoch-seconds", "0.3"])
    environment = {"TUNE_HOME": str(tmp_path / "home"), "TUNE_TRAINER": trainer}
    # Not below tmp_path: paths of sockets must not have more than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="r-") as folder, RayHead(Path(folder), environment, num_cpus=2) as head:
        yield head


def secret_of(head):
    return {name: head.environment[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}


def awaited(client, study, *states):
    deadline = time.monotonic() + _WAIT_S
    while (row := client.get(f"/api/v1/studies/{study}").json())["state"] not in states:
        assert time.monotonic() < deadline, row
        time.sleep(0.5)
    return row


@pytest.mark.slow
def test_a_study_submitted_over_rest_runs_to_its_winner_and_another_is_stopped(tmp_path, head):
    home = tmp_path / "home"
    token = token_of(home, "bob", "submit")
    with serving(home, f"--cluster={head.url}", **secret_of(head)) as (_, url):
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            wish = {"study": "first", "space": SPACE, "data": "sample", "model": "mamba-yolo-n", "promote": False}
            assert client.post("/api/v1/studies", json=wish).status_code == 201
            with client.stream("GET", "/api/v1/studies/first/events", timeout=_WAIT_S) as stream:
                kinds = [line.removeprefix("event: ") for line in stream.iter_lines() if line.startswith("event: ")]
            assert {"state", "epochs", "best", "end"} <= set(kinds)
            assert awaited(client, "first", "done", "failed")["state"] == "done"
            best = client.get("/api/v1/studies/first/best").json()
            assert best["value"] > 0
            assert "lr0" in client.get("/api/v1/studies/first/params.yaml").text
            assert client.get("/api/v1/studies/first/report").status_code == 200

            assert client.post("/api/v1/studies", json={**wish, "study": "second", "trials": 500}).status_code == 201
            awaited(client, "second", "running")
            assert client.post("/api/v1/studies/second/stop").status_code == 200
            assert awaited(client, "second", "stopped", "failed", "done")["state"] == "stopped"
            texts = [client.get(path).text for path in ("/", "/api/v1/studies", "/studies/first", "/studies/second")]
    assert head.environment["RAY_AUTH_TOKEN"] not in "".join(texts)


@pytest.mark.slow
def test_a_study_submitted_while_the_cluster_is_away_starts_when_it_is_back(tmp_path, head):
    home = tmp_path / "home"
    token = token_of(home, "bob", "submit")
    head.kill()
    with serving(home, f"--cluster={head.url}", **secret_of(head)) as (_, url):
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            wish = {"study": "late", "space": SPACE, "data": "sample", "model": "mamba-yolo-n", "promote": False}
            assert client.post("/api/v1/studies", json=wish).status_code == 201
            deadline = time.monotonic() + 60
            while not client.get("/api/v1/studies").json()["notice"]:
                assert time.monotonic() < deadline
                time.sleep(0.5)
            head.start()
            assert awaited(client, "late", "done", "failed")["state"] == "done"
            assert client.get("/api/v1/studies").json()["notice"] == ""


def test_the_cluster_can_be_asked_for_a_keeper_alone(tmp_path):
    """Ask without a submission: the answer says how many studies wait."""
    program = (
        "from tuner.study_queue.service import answer; from tuner.study_queue.table import opened_queue\n"
        f"with opened_queue('sqlite:///{tmp_path}/queue.db') as table: print(answer({{'do': 'ensure'}}, table))"
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, timeout=60)
    assert done.stdout == "{'waiting': 0}\n", done.stderr
