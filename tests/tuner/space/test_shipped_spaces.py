"""Load the shipped spaces: their baseline is the training guide's configuration."""

import re
from pathlib import Path

import pytest

from tuner.exceptions import SpaceError
from tuner.space import ARGUMENTS, SHIPPED_SPACES, Space, augmentation_of, find_space, load_space, parse_space

NAMES = ["full", "medium_aug", "optimizer", "quick", "strong_aug", "weak_aug"]
GUIDE = {"optimizer": "SGD", "lr0": 0.01, "momentum": 0.937, "weight_decay": 0.0005}
GUIDE_LONG = {**GUIDE, "lrf": 0.01, "batch": 32, "imgsz": 640, "warmup_epochs": 3.0}
STRENGTHS = {"weak_aug": 0.0, "medium_aug": 0.5, "strong_aug": 1.0, "optimizer": 0.5, "quick": 0.5}


def shipped(name: str) -> Space:
    return load_space(find_space(name, Path("/")))


def test_the_list_is_complete() -> None:
    assert sorted(path.stem for path in SHIPPED_SPACES.glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_space_loads_without_warnings(name: str) -> None:
    space = shipped(name)

    assert space.warnings == ()
    assert space.description


@pytest.mark.parametrize("name", NAMES)
def test_the_baseline_is_the_guides_configuration(name: str) -> None:
    space = shipped(name)
    expected = GUIDE if name == "quick" else GUIDE_LONG

    params = space.resolve(space.baseline_sampled())

    assert {key: params[key] for key in expected} == expected
    if name in STRENGTHS:
        preset = augmentation_of(STRENGTHS[name])
        assert {key: params[key] for key in preset} == preset


def test_the_full_space_begins_at_ultralytics_defaults() -> None:
    params = shipped("full").resolve(shipped("full").baseline_sampled())

    others = {name: value for name, value in params.items() if name not in ("optimizer", "batch")}
    assert others == {name: ARGUMENTS[name].default for name in others}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "quick"])
def test_a_long_search_promotes_to_300_epochs(name: str) -> None:
    assert shipped(name).settings.promote_epochs == 300


def test_the_example_in_the_readme_is_a_space_without_warnings() -> None:
    readme = (SHIPPED_SPACES / "README.md").read_text(encoding="utf-8")
    example = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)[0]

    assert parse_space(example, name="example", file="README.md").warnings == ()


def test_the_readme_names_every_argument() -> None:
    readme = (SHIPPED_SPACES / "README.md").read_text(encoding="utf-8")

    assert [name for name in ARGUMENTS if f"`{name}`" not in readme] == []


class TestFindSpace:
    @pytest.mark.parametrize("name", ["quick", "quick.yaml"])
    def test_a_bare_name_means_a_shipped_space(self, name: str, tmp_path: Path) -> None:
        assert find_space(name, tmp_path) == SHIPPED_SPACES / "quick.yaml"

    def test_a_file_takes_precedence_over_a_shipped_space(self, tmp_path: Path) -> None:
        (tmp_path / "quick.yaml").touch()

        assert find_space("quick.yaml", tmp_path) == tmp_path / "quick.yaml"

    def test_a_folder_does_not_take_precedence_over_a_shipped_space(self, tmp_path: Path) -> None:
        (tmp_path / "quick").mkdir()

        assert find_space("quick", tmp_path) == SHIPPED_SPACES / "quick.yaml"

    def test_a_path_may_be_absolute(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.touch()

        assert find_space(str(path), Path("/")) == path

    def test_an_unknown_name_is_reported_with_the_nearest_and_all_names(self, tmp_path: Path) -> None:
        with pytest.raises(SpaceError, match=r"did you mean strong_aug\?.*full, medium_aug"):
            find_space("strong_agu", tmp_path)

    def test_a_path_never_means_a_shipped_space(self, tmp_path: Path) -> None:
        with pytest.raises(SpaceError):
            find_space("spaces/quick.yaml", tmp_path)
