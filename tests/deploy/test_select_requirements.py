"""The packages of the lock that an image gets."""

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterable

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.select_requirements import CUDA, EXTRAS, locked_packages, requirements, select
from tests.deploy.manifests import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SMALL = """\
# A comment.
left==1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via
    #   mamba-yolo-tuner (pyproject.toml)
    #   other
nvidia-below==2 ; sys_platform == 'linux' \\
    --hash=sha256:cc
    # via torch
other==3 \\
    --hash=sha256:dd
    # via right
right==4 \\
    --hash=sha256:ee
    # via mamba-yolo-tuner (pyproject.toml)
torch==5 \\
    --hash=sha256:ff
    # via left
"""


def names(group: str) -> set[str]:
    return {package.name for package in select(group, PROJECT, LOCK)}


def needed(requirement: str, extras: Iterable[str], seen: set[tuple[str, frozenset[str]]]) -> None:
    """Collect the dependencies of a requirement from the metadata of the installed packages."""
    wanted = Requirement(requirement)
    if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
        return
    name = canonicalize_name(wanted.name)
    if (name, frozenset(wanted.extras)) in seen:
        return
    seen.add((name, frozenset(wanted.extras)))
    for further in importlib.metadata.requires(name) or []:
        needed(further, wanted.extras, seen)


def test_a_group_has_what_it_needs_directly_or_through_others_with_all_hashes():
    chosen = select("common", {"image": ["Left[extra]>=1"], "build": []}, SMALL)
    assert [package.text for package in chosen] == ["left==1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"]
    assert {package.name for package in select("cuda", {"image": ["left"], "build": []}, SMALL)} == {
        "nvidia-below",
        "torch",
    }
    assert {package.name for package in select("build", {"image": [], "build": ["torch"]}, SMALL)} == {
        "nvidia-below",
        "torch",
    }


def test_an_image_gets_everything_that_the_project_and_its_extras_need():
    locked = re.search(r"^torch==(\S+)", LOCK, re.MULTILINE)[1]
    if importlib.metadata.version("torch").partition("+")[0] != locked:
        pytest.skip("the installed packages are not those of the lock, and need others")
    seen: set[tuple[str, frozenset[str]]] = set()
    try:
        for requirement in PROJECT["image"]:
            needed(requirement, (), seen)
    except importlib.metadata.PackageNotFoundError as missing:
        pytest.skip(f"{missing} is not installed")
    assert {name for name, _ in seen} - names("common") - names("cuda") == set()


def test_an_image_gets_nothing_of_the_tests_and_without_cuda_nothing_of_nvidias_libraries():
    assert not {"pytest", "mypy", "mkdocs-material", "playwright", "mlflow"} & (names("common") | names("cuda"))
    assert {"torch", "torchvision", "triton", "nvidia-cudnn-cu13"} <= names("cuda")
    assert "nvidia-ml-py" in names("common")
    assert [name for name in names("common") if CUDA.fullmatch(name)] == []


def test_every_package_of_an_image_has_its_version_and_a_hash():
    for group in ("common", "cuda", "build"):
        for package in select(group, PROJECT, LOCK):
            assert re.match(r"[\w.-]+==\S+ .*\\\n +--hash=sha256:[0-9a-f]{64}", package.text), package.name
    assert len(locked_packages(LOCK)) == len(re.findall(r"^[\w.-]+==", LOCK, re.MULTILINE))


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_of_an_image_has_its_first_package_there(extra):
    stated = requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["image"]
    assert {"cluster": "ray", "serve": "fastapi", "postgres": "psycopg", "s3": "s3fs"}[extra] in names("common")
    assert any(extra in line or line.startswith(("ray", "fastapi", "psycopg", "s3fs")) for line in stated)


def test_an_unknown_group_is_refused():
    command = [sys.executable, str(ROOT / "deploy/select_requirements.py"), "gpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == "one of common, cuda and build is needed, but got 'gpu'\n"
