"""Peers whose dependencies exclude each other or ours, each in a virtual environment of its own.

A text file here has the pinned packages of one, `python -m benchmarks.decisions.environments` sets all of them up.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
"""Of the clone."""

_REQUIREMENTS = Path(__file__).parent
_FOLDER = ROOT / "build" / "peers"


def names() -> list[str]:
    return sorted(file.stem for file in _REQUIREMENTS.glob("*.txt"))


def python(name: str | None) -> Path:
    """The interpreter of an environment, whether or not it is set up; none is for the one that runs this."""
    return Path(sys.executable) if name is None else _FOLDER / name / "bin" / "python"


def is_ready(name: str | None) -> bool:
    """Whether an environment is there, with the packages that its file names today."""
    return name is None or (_stamp(name).exists() and _stamp(name).read_bytes() == _requirements(name).read_bytes())


def set_up(name: str) -> None:
    """Create an environment, or bring it up to date.

    Raises:
        subprocess.CalledProcessError: a package cannot be had.
    """
    subprocess.run([sys.executable, "-m", "venv", str(_FOLDER / name)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(_requirements(name))]
    subprocess.run([str(python(name)), *install], check=True)
    _stamp(name).write_bytes(_requirements(name).read_bytes())


def _requirements(name: str) -> Path:
    return _REQUIREMENTS / f"{name}.txt"


def _stamp(name: str) -> Path:
    return _FOLDER / name / "installed.txt"
