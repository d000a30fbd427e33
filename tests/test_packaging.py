"""The shipped files: the content of the wheel, the lock, and documents that agree with the code."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tuner
from tuner import exceptions
from tuner.space import SHIPPED_SPACES

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
EXTRAS = {name: list(map(Requirement, texts)) for name, texts in PROJECT["optional-dependencies"].items()}
# The extra `mamba` requires another torch than the lock has.
LOCKED = [*map(Requirement, PROJECT["dependencies"]), *EXTRAS["dev"], *EXTRAS["export"]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, and return its file."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def wheel(built: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(built) as archive:
        yield archive


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel's packages into a folder, as pip does."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder), str(built)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


def in_installed(folder: Path, *arguments: str) -> list[str]:
    """Run Python on the installed packages, away from the checkout, and return the lines that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        ("search_spaces/**/*.*", "tuner/"),
        ("trainer/models/*.yaml", ""),
        ("trainer/data/assets/*.npz", ""),
        ("t*er/**/*.py", ""),
        ("t*er/py.typed", ""),
        ("trainer/**/*.c", ""),
        ("tuner/**/*.sh", ""),
        ("tuner/**/*.j2", ""),
        ("tuner/team_service/assets/*.*", ""),
    ],
)
def test_wheel_has_every_file_that_is_needed_at_run_time(wheel, pattern, place):
    expected = {f"{place}{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob(pattern)}
    assert expected
    assert expected <= set(wheel.namelist())


def test_wheel_has_nothing_else_at_its_top_level(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"tuner", "trainer", f"mamba_yolo_tuner-{tuner.__version__}.dist-info"}


def test_an_installed_wheel_finds_its_spaces_and_knows_its_version(installed):
    program = (
        "import tuner; from tuner.space import SHIPPED_SPACES as s; print(s, *sorted(f.name for f in s.glob('*.yaml')))"
    )
    (said,) = in_installed(installed, "-c", program)
    assert said.split() == [
        str(installed / "tuner" / "search_spaces"),
        *sorted(path.name for path in ROOT.glob("search_spaces/*.yaml")),
    ]
    assert in_installed(installed, "-m", "tuner", "--version") == [f"mamba-yolo-tuner {tuner.__version__}"]


def test_a_checkout_finds_the_spaces_at_its_top():
    assert ROOT / "search_spaces" == SHIPPED_SPACES


@pytest.mark.parametrize("licence", PROJECT["license-files"])
def test_wheel_has_the_licences(wheel, licence):
    name = f"mamba_yolo_tuner-{tuner.__version__}.dist-info/licenses/{licence}"
    assert wheel.read(name) == (ROOT / licence).read_bytes()


def test_wheel_installs_both_commands(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    scripts = dict(re.findall(r"^(\S+) = (\S+)$", wheel.read(name).decode(), re.MULTILINE))
    assert scripts == {"tune": "tuner.cli.main:main", "mamba-tune": "tuner.cli.main:main"}


def test_licence_is_the_agpl_as_published():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.split("\n", 1)[0].strip() == "GNU AFFERO GENERAL PUBLIC LICENSE"
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "AGPL-3.0-or-later"
    assert PROJECT["license"] in README


@pytest.mark.parametrize("requirement", [*LOCKED, *EXTRAS["mamba"]], ids=str)
def test_every_dependency_has_an_upper_bound(requirement):
    assert {"<", "<=", "==", "~="} & {specifier.operator for specifier in requirement.specifier}


@pytest.mark.parametrize("requirement", LOCKED, ids=str)
def test_lock_pins_what_the_project_asks_for(requirement):
    locked = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", _lock(), re.MULTILINE))
    pinned = {canonicalize_name(name): version for name, version in locked.items()}
    assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])


def test_lock_has_hashes_and_names_no_index_or_url():
    entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^#.*\n", "", _lock(), flags=re.MULTILINE))
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|index-url|find-links|@ ", _lock())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(document):
    prose = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]
    assert [link for link in links if link and not (document.parent / link).exists()] == []


def test_changelog_and_project_have_the_same_version():
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", tuner.__version__]


def test_ci_runs_the_test_command_of_the_readme():
    script = ROOT / ".ci" / "run"
    commands = [line for line in script.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make test"]
    assert os.access(script, os.X_OK)
    assert re.search(r"^make test\b", README, re.MULTILINE)


def test_readme_explains_every_exit_code():
    codes = {kind.exit_code for kind in vars(exceptions).values() if isinstance(kind, type)}
    explained = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE) for code in row.split(",")}
    assert explained == {0, 75, 129, 130, 143} | codes


@pytest.mark.parametrize("model", sorted(ROOT.glob("trainer/models/*.yaml")), ids=lambda path: path.stem)
def test_readme_gives_each_model_the_parameters_that_its_file_does(model):
    counted = re.search(r"^# ([\d,]+) parameters", model.read_text(encoding="utf-8"), re.MULTILINE)
    assert counted
    assert f"| `{model.stem}` | {counted[1]} |" in README


@pytest.mark.parametrize("document", ["README.md", "search_spaces/README.md"])
def test_every_shipped_space_is_listed(document):
    listed = set(re.findall(r"^\| `(\w+)` \|", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE))
    assert {path.stem for path in ROOT.glob("search_spaces/*.yaml")} <= listed


def _lock() -> str:
    return (ROOT / "requirements.lock").read_text(encoding="utf-8")
