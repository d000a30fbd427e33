"""The public interface: the page about it runs, names all of it, and importing it is cheap."""

import re
import shutil
from pathlib import Path

import pytest

import trainer
import tuner
from tests.support.fresh_process import loaded_below, modules_loaded_by
from tests.tuner.conftest import driven, empty_database, play, space, spec, terms  # noqa: F401 - fixtures
from tuner.search.search import Search
from tuner.study import StudyPaths

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path, empty_database, space, spec, terms):  # noqa: F811
    """Make a working directory with the study and the run of the examples."""
    paths = StudyPaths.of(tmp_path / "studies", "quick-clothes")
    paths.create()
    shutil.copy(empty_database, paths.database)
    with driven(f"sqlite:///{paths.database}", spec, paths, name="quick-clothes") as study:
        search = Search(study, space, paths, terms)
        play(search, search.suggest(), 0.1, 0.25)
        play(search, search.suggest(), 0.1, 0.3)
    shutil.copytree(ROOT / "tests/tuner/diagnosis/curves/lr-too-low", tmp_path / "runs/detect/train")
    return tmp_path


def test_the_examples_run_one_after_the_other(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    names = {}
    for block in BLOCKS:
        exec(block, names)  # our own page

    said = capsys.readouterr().out
    assert "COMPLETE 0.3" in said
    assert "loss-not-falling" in said
    assert "lr0" in (folder / "params.yaml").read_text()
    assert type(names["model"].model.model[0]).__module__.startswith("trainer.nn")


@pytest.mark.parametrize("package", [tuner, trainer], ids=lambda package: package.__name__)
def test_the_page_names_every_public_name_and_no_other(package):
    table = PAGE[PAGE.index(f"| `{package.__name__}` | |") :].split("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)", row.split("|")[1])} - {"import"}
    assert named == set(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)
    assert set(package.__all__) <= set(dir(package))


def test_a_name_that_is_not_public_is_not_an_attribute():
    with pytest.raises(AttributeError, match="'Searcher'"):
        tuner.Searcher  # noqa: B018


def test_importing_both_packages_loads_nothing_else():
    loaded = modules_loaded_by("import tuner, trainer")
    assert {module for module in loaded if module.startswith("tuner.")} == set()
    assert loaded_below({"numpy", "optuna", "torch", "ultralytics"}, loaded) == set()


def test_a_space_and_a_diagnosis_need_no_optuna():
    loaded = modules_loaded_by("import tuner; tuner.load_space, tuner.find_space, tuner.diagnose, tuner.read_run")
    assert "tuner.diagnosis" in loaded
    assert loaded_below({"optuna", "scipy", "sqlalchemy"}, loaded) == set()
