"""The services that compose.yaml starts on one machine, and the ports that it opens."""

import os
import re
import shutil
import subprocess

import pytest

import tuner
from tests.deploy.manifests import DEPLOY, compose

SERVICES = compose()["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("mamba-yolo-tuner")]
each = pytest.mark.parametrize("name", SERVICES)


@each
def test_every_port_is_published_on_the_loopback_address_only(name):
    assert [port for port in SERVICES[name].get("ports", []) if not port.startswith("127.0.0.1:")] == []


def test_the_database_is_on_a_network_without_a_way_out_and_publishes_no_port():
    assert SERVICES["postgres"]["networks"] == ["database"]
    assert compose()["networks"]["database"] == {"internal": True}
    assert "ports" not in SERVICES["postgres"]


@each
def test_every_service_restarts_is_checked_and_has_few_rights(name):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@each
def test_secrets_are_files_and_no_value_contains_one(name):
    environment = SERVICES[name]["environment"]
    secret = re.compile("password|token$|token_|secret", re.IGNORECASE)
    named = {key: value for key, value in environment.items() if secret.search(key)}
    assert named
    assert {key for key in named if not key.endswith(("_FILE", "_PATH"))} == set()
    assert {value.removeprefix("/run/secrets/") for value in named.values()} <= set(SERVICES[name]["secrets"])
    assert not any(re.search(r"://[^/@]*:[^/@]*@", str(value)) for value in environment.values())


def test_every_secret_comes_from_a_file_that_git_ignores():
    assert all(set(secret) == {"file"} for secret in compose()["secrets"].values())
    assert "deploy/secrets/" in (DEPLOY.parent / ".gitignore").read_text().splitlines()
    assert (DEPLOY.parent / ".dockerignore").read_text().splitlines()[1] == "*"


@pytest.mark.parametrize("name", OURS)
def test_our_services_have_a_minute_to_stop_and_the_version_of_the_project(name):
    assert SERVICES[name]["stop_grace_period"] == "60s"
    assert re.fullmatch(rf"mamba-yolo-tuner-(cpu|cuda):{re.escape(tuner.__version__)}", SERVICES[name]["image"])
    assert SERVICES[name]["environment"]["RAY_AUTH_MODE"] == "token"


def test_the_service_asks_the_head_that_the_file_starts_on_the_port_that_is_checked():
    command = SERVICES["serve"]["command"]
    assert command[command.index("--cluster") + 1] == "http://ray:8265"
    assert "--dashboard-port=8265" in SERVICES["ray"]["command"]
    port = command[command.index("--port") + 1]
    assert SERVICES["serve"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"http://127.0.0.1:{port}/healthz" in SERVICES["serve"]["healthcheck"]["test"][-1]


def test_the_file_for_gpus_changes_the_head_only():
    services = compose("compose.gpu.yaml")["services"]
    assert list(services) == ["ray"]
    assert services["ray"]["image"] == f"mamba-yolo-tuner-cuda:{tuner.__version__}"


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]])
def test_docker_compose_accepts_the_files(files, tmp_path):
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plugin here")
    command = [docker, "compose", *(word for file in files for word in ("--file", str(DEPLOY / file)))]
    environment = {**os.environ, "TUNE_SECRETS": str(tmp_path), "TUNE_DATA": str(tmp_path)}
    done = subprocess.run(
        [*command, "config", "--quiet"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
