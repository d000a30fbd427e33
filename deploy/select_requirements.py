"""Select the packages of an image from requirements.lock, with their versions and hashes.

The lock also holds what checking and testing need. Its comments `# via` say who needs a package, so the part that an
image needs follows from the dependencies and extras in pyproject.toml.

    python3 deploy/select_requirements.py common    # what every image has
    python3 deploy/select_requirements.py cuda      # PyTorch as PyPI has it, with NVIDIA's libraries and Triton
    python3 deploy/select_requirements.py build     # what builds the project's wheel
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("cluster", "serve", "postgres", "s3")
CUDA = re.compile(r"torch|torchvision|triton|cuda-.+|nvidia-(?!ml-py$).+")
"""Names of PyTorch and of what only its CUDA build needs. nvidia-ml-py is plain Python, and ultralytics imports it."""


@dataclass(frozen=True)
class Locked:
    """Package of the lock at one version."""

    name: str
    text: str
    needed_by: frozenset[str]


def locked_packages(lock: str) -> list[Locked]:
    """Parse a lock in the format of `uv pip compile`; a package may occur at several versions, with markers."""
    blocks = re.findall(r"^[a-z0-9].*\n(?:[ \t].*\n?)*", lock, re.MULTILINE | re.IGNORECASE)
    return [Locked(_name(block), _without_comments(block), _needed_by(block)) for block in blocks]


def select(group: str, project: dict[str, list[str]], lock: str) -> list[Locked]:
    """Return the packages of a group.

    Args:
        group: `common`, `cuda` or `build`.
        project: The requirements that pyproject.toml states, by group: `image` and `build`.
        lock: Text of the lock.
    """
    packages = locked_packages(lock)
    wanted = _closure(map(_name, project["build" if group == "build" else "image"]), packages)
    chosen = [package for package in packages if package.name in wanted]
    if group == "build":
        return chosen
    return [package for package in chosen if bool(CUDA.fullmatch(package.name)) == (group == "cuda")]


def requirements(pyproject: str) -> dict[str, list[str]]:
    """Return the requirements that the image and the build of the wheel start from."""
    stated = tomllib.loads(pyproject)
    extras = stated["project"]["optional-dependencies"]
    image = stated["project"]["dependencies"] + [line for extra in EXTRAS for line in extras[extra]]
    return {"image": image, "build": stated["build-system"]["requires"]}


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def _without_comments(block: str) -> str:
    return "".join(line for line in block.splitlines(keepends=True) if not line.lstrip().startswith("#"))


def _needed_by(block: str) -> frozenset[str]:
    names = re.findall(r"^ +#(?: +via)? +([A-Za-z0-9][\w.-]*)", block.replace("# via\n", ""), re.MULTILINE)
    return frozenset(map(_name, names))


def _closure(roots: Iterable[str], packages: list[Locked]) -> set[str]:
    wanted: set[str] = set()
    added = set(roots)
    while added:
        wanted |= added
        added = {package.name for package in packages if package.needed_by & added} - wanted
    return wanted


def main() -> None:
    """Write the packages of the group that the command line names."""
    project = requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    if sys.argv[1:] not in (["common"], ["cuda"], ["build"]):
        sys.exit(f"one of common, cuda and build is needed, but got '{' '.join(sys.argv[1:])}'")
    sys.stdout.writelines(package.text for package in select(sys.argv[1], project, lock))


if __name__ == "__main__":
    main()
