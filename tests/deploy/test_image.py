"""The content of the image that the Dockerfile builds, and a run of the image."""

import os
import re
import shlex
import shutil
import subprocess

import pytest

import tuner
from deploy.select_requirements import locked_packages
from tests.deploy.manifests import DEPLOY, ROOT

DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
LOCKED = {
    package.name: package.text.split("==")[1].split()[0]
    for package in locked_packages((ROOT / "requirements.lock").read_text(encoding="utf-8"))
}
STAGES = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize(("file", "package"), [("torch-cpu.txt", "torch"), ("torchvision-cpu.txt", "torchvision")])
def test_pytorch_for_cpus_has_the_version_of_the_lock(file, package):
    (line,) = [line for line in (DEPLOY / file).read_text().splitlines() if not line.startswith("#")]
    assert line.split()[0] == f"{package}=={LOCKED[package]}+cpu"


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_a_final_stage_installs_no_package_and_ends_as_a_user_who_is_not_root(target):
    assert "pip" not in STAGES[target]
    assert re.findall(r"^USER (\S+)", STAGES[target], re.MULTILINE) == ["10001:10001"]
    assert f"COPY --from=packages-{target} /opt/tune /opt/tune" in STAGES[target]


def test_packages_are_installed_by_hash_or_without_an_index():
    installs = re.findall(r"\binstall --no-deps(.*?)(?=&&|\n[A-Z]|\Z)", DOCKERFILE, re.DOTALL)
    assert len(installs) == 7
    unchecked = [text for text in installs if "--require-hashes" not in text and "--no-index" not in text]
    assert [text for text in unchecked if "torchvision-cpu.txt" not in text] == []


def test_what_is_copied_exists_and_is_in_the_context():
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for word in [word for word in line.split() if not word.startswith("--")][:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {word for word in copied if not (ROOT / word).exists()} == set()
    assert {word for word in copied if f"!{word}" not in ignored} == set()


def test_the_entry_reads_the_password_from_its_file_and_becomes_the_command(tmp_path):
    file = tmp_path / "password"
    file.write_text("pass word\n")
    command = [str(DEPLOY / "entrypoint.sh"), "sh", "-c", 'echo "$PGPASSWORD"; exit 75']
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD_FILE": str(file)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (75, "pass word\n")
    file.unlink()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode not in (0, 75)
    assert str(file) in done.stderr


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run(
        [hadolint, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


# The image itself


@pytest.fixture(scope="module")
def image():
    """Build an image; DEPLOY_TARGET chooses it, and DEPLOY_BUILD_OPTIONS holds further options of `docker build`."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("no docker daemon answers")
    target = os.environ.get("DEPLOY_TARGET", "cpu")
    name = f"mamba-yolo-tuner-{target}:{tuner.__version__}"
    options = shlex.split(os.environ.get("DEPLOY_BUILD_OPTIONS", ""))
    command = [docker, "build", "--file", str(DEPLOY / "Dockerfile"), "--target", target, "--tag", name, *options, "."]
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return name


def in_container(image: str, *command: str) -> str:
    """Run a command as the manifests do: only file systems in memory can be written."""
    rights = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none", "--shm-size=1g"]
    memory = ["--tmpfs=/tmp:exec,mode=1777", "--tmpfs=/home/tune:exec,uid=10001,gid=10001,mode=700"]
    memory += ["--tmpfs=/studies:uid=10001,gid=10001,mode=700"]
    done = subprocess.run(
        ["docker", "run", "--rm", *rights, *memory, image, *command],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_image_runs_a_search_as_a_user_without_rights_and_a_network(image):
    assert in_container(image, "tune", "--version").strip().endswith(tuner.__version__)
    assert in_container(image, "id", "-u").strip() == "10001"
    in_container(image, "tune", "doctor")
    search = ["tune", "run", "--space", "quick", "--trials", "1", "--reevaluation-runs", "0", "--no-promote"]
    assert "quick-sample" in in_container(image, *search)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_login_shell_as_kuberay_starts_it_finds_ray_and_our_tune(image):
    shown = in_container(image, "/bin/bash", "-lc", "command -v ray tune && ray --version && tune --version")
    assert shown.splitlines()[:2] == ["/opt/tune/bin/ray", "/opt/tune/bin/tune"]
    assert f"version {LOCKED['ray']}" in shown
    assert in_container(image, "/bin/sh", "-c", "command -v pip || true") == ""
