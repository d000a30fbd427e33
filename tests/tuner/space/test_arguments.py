"""Compare the table of arguments with the installed ultralytics."""

import importlib.util
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tuner.space import ARGUMENTS, AUGMENTATION_STRENGTH, REFUSED, Kind

TYPES = {Kind.FLOAT: float, Kind.INT: int, Kind.BOOL: bool}


@pytest.fixture(scope="module")
def defaults() -> dict[str, object]:
    # Read the file: importing ultralytics takes seconds and is not necessary for its defaults.
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or spec.origin is None:
        pytest.skip("ultralytics is not installed")
    text = (Path(spec.origin).parent / "cfg" / "default.yaml").read_text(encoding="utf-8")
    loaded = YAML(typ="safe", pure=True).load(text)
    assert isinstance(loaded, dict)
    return loaded


def test_every_argument_exists_in_ultralytics(defaults: dict[str, object]) -> None:
    assert set(ARGUMENTS) - {AUGMENTATION_STRENGTH} <= set(defaults)


def test_defaults_are_those_of_ultralytics(defaults: dict[str, object]) -> None:
    named = set(ARGUMENTS) - {AUGMENTATION_STRENGTH}

    assert {name: ARGUMENTS[name].default for name in named} == {name: defaults[name] for name in named}


def test_kinds_are_those_of_ultralytics(defaults: dict[str, object]) -> None:
    for argument in ARGUMENTS.values():
        default = defaults.get(argument.name)
        if argument.kind is not Kind.CHOICE and default is not None:
            assert type(default) is TYPES[argument.kind], argument.name


def test_every_default_keeps_its_own_rule() -> None:
    for argument in ARGUMENTS.values():
        if argument.default is not None and argument.name != "optimizer":
            assert argument.checked(argument.default) == argument.default


def test_every_argument_of_ultralytics_is_either_allowed_or_refused_with_a_reason(
    defaults: dict[str, object],
) -> None:
    assert set(defaults) <= set(ARGUMENTS) | set(REFUSED)


def test_no_argument_is_both_allowed_and_refused() -> None:
    assert not set(ARGUMENTS) & set(REFUSED)
