"""Virtual environments for peers whose dependencies conflict with each other or with ours.

Each text file here pins the packages of one environment; `python -m benchmarks.decisions.environments` sets up all.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[3]
"""Root folder of the clone."""

_REQUIREMENTS = Path(__file__).parent
_FOLDER = ROOT / "build" / "peers"
_WITH_OURS = frozenset({"neps"})
"""Environments that see our packages behind their own, because torch would take gigabytes once more."""


def names() -> list[str]:
    return sorted(file.stem for file in _REQUIREMENTS.glob("*.txt"))


def python(name: str | None) -> Path:
    """Return the interpreter of an environment, even if it is not set up; None means the current interpreter."""
    return Path(sys.executable) if name is None else _FOLDER / name / "bin" / "python"


def is_ready(name: str | None) -> bool:
    """Check whether an environment exists with the packages that its file names now."""
    return name is None or (_stamp(name).exists() and _stamp(name).read_bytes() == _requirements(name).read_bytes())


def set_up(name: str) -> None:
    """Create an environment, or update it.

    Raises:
        subprocess.CalledProcessError: A package could not be installed.
    """
    subprocess.run([sys.executable, "-m", "venv", str(_FOLDER / name)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(_requirements(name))]
    subprocess.run([str(python(name)), *install], check=True)
    if name in _WITH_OURS:
        base = str(_FOLDER / name)
        packages = Path(sysconfig.get_path("purelib", vars={"base": base, "platbase": base}))
        (packages / "ours.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    _stamp(name).write_bytes(_requirements(name).read_bytes())


def _requirements(name: str) -> Path:
    return _REQUIREMENTS / f"{name}.txt"


def _stamp(name: str) -> Path:
    return _FOLDER / name / "installed.txt"
