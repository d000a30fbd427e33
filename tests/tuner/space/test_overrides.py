"""Fix parameters of a space on the command line."""

import pytest

from tuner.exceptions import SpaceError
from tuner.space import FixedParameter, Space, find_space, load_space, parse_space, space_of, with_fixed

TEXT = """
parameters:
  imgsz: 640
  optimizer: {choice: [SGD, AdamW]}
  lr0:
    - {when: {optimizer: SGD}, float: [0.001, 0.1], log: true}
    - {when: {optimizer: AdamW}, float: [0.0001, 0.01], log: true}
  cos_lr: {choice: [true, false]}
  lrf: {when: {cos_lr: false}, float: [0.01, 0.5]}
  batch: {choice: [16, 32]}
baseline: {optimizer: SGD, lr0: 0.01, cos_lr: false, lrf: 0.01, batch: 32}
"""


def space() -> Space:
    return parse_space(TEXT, name="s", file="s.yaml")


def fixed(*settings: str) -> Space:
    return with_fixed(space(), settings)


def default_of(of: Space) -> dict[str, object]:
    return of.resolve(of.baseline_sampled())


def test_a_fixed_value_replaces_the_spaces_own() -> None:
    assert default_of(fixed("imgsz=416"))["imgsz"] == 416


def test_a_fixed_parameter_is_no_longer_searched() -> None:
    given = fixed("batch=8")
    assert "batch" not in {parameter.name for parameter in given.searched}
    assert "batch" not in given.baseline
    assert default_of(given)["batch"] == 8


def test_an_argument_that_the_space_does_not_name_joins_it() -> None:
    assert default_of(fixed("mosaic=0.5", "weight_decay=1e-4")) == {
        **default_of(space()),
        "mosaic": 0.5,
        "weight_decay": 0.0001,
    }


def test_variants_are_settled_by_the_value_of_their_condition() -> None:
    given = fixed("optimizer=AdamW")
    (lr0,) = [parameter for parameter in given.parameters if parameter.name == "lr0"]
    assert (lr0.label, lr0.values_text()) == ("lr0", "0.0001..0.01 (log)")


def test_a_variant_that_becomes_active_starts_in_the_middle_of_its_range() -> None:
    assert default_of(fixed("optimizer=AdamW"))["lr0"] == pytest.approx(0.001)


def test_a_variant_that_was_active_keeps_its_value_in_the_baseline() -> None:
    assert default_of(fixed("optimizer=SGD")) == default_of(space())


def test_a_parameter_that_can_never_be_active_leaves_the_space() -> None:
    assert "lrf" not in {parameter.name for parameter in fixed("cos_lr=true").parameters}


def test_the_last_value_of_a_repeated_name_counts() -> None:
    assert default_of(fixed("batch=8", "batch=24"))["batch"] == 24


def test_no_setting_changes_nothing() -> None:
    assert fixed().canonical() == space().canonical()


def test_a_study_sees_which_values_were_fixed() -> None:
    assert fixed("imgsz=416", "batch=8").differences(space().canonical()) == [
        "batch: choice [16, 32] -> fixed 8",
        "imgsz: fixed 640 -> fixed 416",
        "baseline batch: removed, was 32",
    ]


@pytest.mark.parametrize("name", ["quick", "weak_aug", "medium_aug", "strong_aug", "optimizer", "full"])
@pytest.mark.parametrize("setting", ["imgsz=64", "optimizer=AdamW", "optimizer=SGD", "batch=4", "mosaic=0"])
def test_every_shipped_space_stays_valid_with_fixed_values(name: str, setting: str, tmp_path) -> None:
    given = with_fixed(load_space(find_space(name, tmp_path)), [setting])
    back = space_of(given.canonical(), name=name)
    assert back.canonical() == given.canonical()
    key, _, value = setting.partition("=")
    assert str(default_of(given)[key]) in (value, f"{value}.0")
    assert any(isinstance(parameter, FixedParameter) and parameter.name == key for parameter in given.parameters)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("lr0=fast", "--set lr0: `lr0` takes a number, but got 'fast'"),
        ("imgsz=100", "--set imgsz: `imgsz` must be at least 32 and a multiple of 32, but got 100; write 128"),
        ("optimizer=auto", "--set optimizer: `optimizer` must be named"),
        ("learning_rate=0.1", "did you mean lr0?"),
        ("dropout=0.5", "--set dropout: `dropout` acts on classification heads only"),
        ("epochs=5", "use --epochs instead"),
        ("data=x.yaml", "use --data instead"),
        ("seed=1", "use --seed instead"),
        ("device=0", "use --gpus instead"),
        ("lr0", "--set takes an argument and its value as lr0=0.005, but got 'lr0'"),
        ("lr0=", "--set takes an argument and its value"),
        ("=3", "--set"),
        ("batch=[8, 16]", "--set takes an argument and its value"),
        ("optimizer=RMSprop", "`lr0` of this space depends on `optimizer`, which must be one of SGD, AdamW"),
    ],
)
def test_a_wrong_setting_is_reported_in_one_line_that_names_the_option(setting: str, said: str) -> None:
    with pytest.raises(SpaceError) as refused:
        fixed(setting)
    assert said in str(refused.value)
    assert str(refused.value).startswith("--set")
    assert len(str(refused.value).splitlines()) == 1


def test_another_optimizer_is_accepted_with_everything_that_depends_on_it() -> None:
    given = default_of(fixed("optimizer=RMSprop", "lr0=0.001"))
    assert (given["optimizer"], given["lr0"]) == ("RMSprop", 0.001)


def test_all_wrong_settings_are_reported_together() -> None:
    with pytest.raises(SpaceError) as refused:
        fixed("lr0=fast", "imgsz=100", "dropout=0.5")
    assert len(str(refused.value).splitlines()) == 3


def test_something_must_be_left_to_search() -> None:
    with pytest.raises(SpaceError, match="nothing is left to search in the space 's'"):
        fixed("optimizer=SGD", "lr0=0.01", "cos_lr=true", "batch=16")
