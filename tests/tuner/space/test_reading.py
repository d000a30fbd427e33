"""Report all mistakes in a space file together, each with its line and its remedy."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.exceptions import SpaceError
from tuner.space import (
    ChoiceParameter,
    Condition,
    FixedParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Space,
    load_space,
    parse_space,
)

GOOD = """\
description: a test
data: aerial.yaml
model: mamba-yolo-t
search: {epochs: 54, grace_epochs: 6, trials: 20}
parameters:
  optimizer: {choice: [SGD, AdamW]}
  lr0:
    - {when: {optimizer: SGD}, float: [1e-3, 0.1], log: true}
    - {when: {optimizer: AdamW}, float: [1e-4, 0.01], log: true}
  warmup_epochs: {float: [0, 5], step: 0.5}
  close_mosaic: {int: [0, 15]}
  batch: {choice: [16, 32]}
  imgsz: 640
  mosaic: 1
baseline:
  optimizer: SGD
  lr0: 0.01
  warmup_epochs: 3
  close_mosaic: 10
  batch: 32
"""


def parse(text: str) -> Space:
    return parse_space(text, name="s", file="s.yaml")


def messages(text: str) -> list[str]:
    with pytest.raises(SpaceError) as caught:
        parse(text)
    return str(caught.value).splitlines()


def named(space: Space, name: str) -> list[Parameter]:
    return [parameter for parameter in space.parameters if parameter.name == name]


def test_every_form_of_parameter_is_read() -> None:
    space = parse(GOOD)

    sgd, adamw = (
        Condition(parameter="optimizer", values=("SGD",)),
        Condition(parameter="optimizer", values=("AdamW",)),
    )
    assert named(space, "optimizer") == [ChoiceParameter(name="optimizer", choices=("SGD", "AdamW"))]
    assert named(space, "lr0") == [
        FloatParameter(name="lr0", low=0.0001, high=0.01, log=True, when=(adamw,)),
        FloatParameter(name="lr0", low=0.001, high=0.1, log=True, when=(sgd,)),
    ]
    assert named(space, "warmup_epochs") == [FloatParameter(name="warmup_epochs", low=0.0, high=5.0, step=0.5)]
    assert named(space, "close_mosaic") == [IntParameter(name="close_mosaic", low=0, high=15)]
    assert named(space, "imgsz") == [FixedParameter(name="imgsz", value=640)]


def test_text_data_model_settings_and_baseline_are_read() -> None:
    space = parse(GOOD)

    assert (space.name, space.description) == ("s", "a test")
    assert (space.data, space.model) == ("aerial.yaml", "mamba-yolo-t")
    assert (space.settings.epochs, space.settings.trials) == (54, 20)
    assert space.baseline == {
        "optimizer": "SGD",
        "lr0": 0.01,
        "warmup_epochs": 3.0,
        "close_mosaic": 10,
        "batch": 32,
    }


def test_whole_numbers_become_real_for_real_arguments() -> None:
    mosaic = named(parse(GOOD), "mosaic")[0]

    assert isinstance(mosaic, FixedParameter)
    assert type(mosaic.value) is float


def test_a_good_space_has_no_warnings() -> None:
    assert parse(GOOD).warnings == ()


# A line of the good space, its replacement, and the one message that follows.
MISTAKES = [
    # The file as YAML.
    ("imgsz: 640", "imgsz: &size 640", "s.yaml:13: anchors are not allowed, but got &size; remove it"),
    ("imgsz: 640", "imgsz: *size", "s.yaml:13: aliases are not allowed, but got *size; write the value out"),
    ("imgsz: 640", "imgsz: !!int 640", "tags are not allowed, but got 'tag:yaml.org,2002:int'"),
    ("imgsz: 640", "imgsz: !!python/object/apply:os.system [ls]", "s.yaml:13: tags are not allowed"),
    ("mosaic: 1", "imgsz: 320", "s.yaml:14: a key may occur once, but 'imgsz' is also in line 13; remove"),
    ("mosaic: 1", "[a]: 1", "s.yaml:14: a key must be a name, but got something else"),
    ("mosaic: 1", "mosaic: [1", "not YAML"),
    ("mosaic: 1", "mosaic: \x07", "s.yaml:14: not YAML: an invalid character"),
    ("  batch: 32\n", "  batch: 32\n---\na: 1\n", "a space must be one document"),
    ("mosaic: 1", "mosaic: " + "[" * 40, "s.yaml:14: a space must not nest deeper than 32 levels"),
    # Keys.
    ("description:", "descripton:", "s.yaml:1: a space takes description,"),
    ("description:", "descripton:", "but got 'descripton'; did you mean description?"),
    ("search: {", "search: {epoch: 3, ", "but got 'epoch'; did you mean epochs?"),
    ("data: aerial.yaml", "data: 3", "s.yaml:2: `data` takes text"),
    # Settings.
    ("trials: 20", "trials: 0", "s.yaml:4: `trials` must be at least 1, but got 0"),
    ("trials: 20", "trials: many", "`trials` takes a whole number, but got 'many'"),
    ("trials: 20", "trials: 2.5", "`trials` takes a whole number, but got 2.5"),
    ("trials: 20", "trials: [2]", "`trials` takes one value, but got a list or mapping"),
    ("trials: 20", "reevaluation_runs: 5", "`reevaluation_runs` must be 0 or at least 6, but got 5; write 6 or more"),
    ("trials: 20", "reevaluation_runs: false", "`reevaluation_runs` takes a whole number, but got"),
    ("trials: 20", "promote_deterministic: 1", "`promote_deterministic` takes true or false, but got 1; write true or"),
    ("trials: 20", "reduction_factor: 1", "`reduction_factor` must be at least 2, but got 1"),
    (
        "grace_epochs: 6",
        "grace_epochs: 60",
        "`grace_epochs` must not exceed `epochs`, but got 60 with epochs=54",
    ),
    ("grace_epochs: 6", "rungs: [9, 3]", "`rungs` must start at 1 or later and increase, but got [9, 3]"),
    ("grace_epochs: 6", "rungs: [9, 55]", "`rungs` must not exceed `epochs`, but got 55 with epochs=54"),
    ("trials: 20", "rungs: [9]", "`rungs` and `grace_epochs` exclude each other"),
    ("grace_epochs: 6", "rungs: 9", "`rungs` takes a list of epochs, but got 9"),
    ("trials: 20", "metric: map50", "`metric` must be one of mAP50-95, mAP50,"),
    ("trials: 20", "metric: map50", "but got 'map50'; did you mean mAP50?"),
    (
        "trials: 20",
        "sampler: bayes",
        "`sampler` must be one of auto, model, tpe, gp, cmaes, random, but got 'bayes'",
    ),
    ("trials: 20", "seed: -1", "`seed` must be at least 0, but got -1"),
    # Names of arguments.
    ("mosaic: 1", "mosiac: 1", "s.yaml:14: parameters are ultralytics' training arguments, but got 'mosiac'"),
    ("mosaic: 1", "mosiac: 1", "did you mean mosaic?"),
    ("mosaic: 1", "learning_rate: 1", "did you mean lr0?"),
    (
        "mosaic: 1",
        "dropout: 0.1",
        "s.yaml:14: `dropout` acts on classification heads only; against overfitting",
    ),
    (
        "mosaic: 1",
        "epochs: 3",
        "`epochs` is the length of every trial's schedule; set `epochs` under `search`",
    ),
    ("mosaic: 1", "device: 0", "`device` is set by the tuner for every trial; leave it out"),
    ("mosaic: 1", "label_smoothing: 0.1", "`label_smoothing` was removed from ultralytics; leave it out"),
    # Values.
    (
        "mosaic: 1",
        "mosaic: 1.5",
        "`mosaic` must be at least 0 and at most 1, but got 1.5; choose a value inside",
    ),
    ("mosaic: 1", "mosaic: .nan", "`mosaic` must be at least 0 and at most 1, but got nan"),
    ("mosaic: 1", "mosaic: '1'", "`mosaic` takes a number, but got '1'; write 1 without quotes"),
    ("mosaic: 1", "mosaic: true", "`mosaic` takes a number, but got true"),
    ("mosaic: 1", "mosaic:", "`mosaic` takes a number, but got nothing"),
    ("mosaic: 1", "cos_lr: yes", "`cos_lr` takes true or false, but got 'yes'; write true or false"),
    ("mosaic: 1", "box: -1", "`box` must be at least 0, but got -1.0"),
    ("mosaic: 1", "degrees: 400", "`degrees` must be at least 0 and at most 180, but got 400.0"),
    ("imgsz: 640", "imgsz: 650", "`imgsz` must be at least 32 and a multiple of 32, but got 650; write 672"),
    ("imgsz: 640", "imgsz: 640.0", "`imgsz` takes a whole number, but got 640.0; write 640"),
    ("batch: {choice: [16, 32]}", "batch: -1", "`batch` must be at least 1, but got -1; give a number"),
    ("batch: {choice: [16, 32]}", "batch: 0.7", "`batch` takes a whole number, but got 0.7; give a number"),
    ("batch: {choice: [16, 32]}", "batch: 16.5", "`batch` takes a whole number, but got 16.5; write 17"),
    ("batch: {choice: [16, 32]}", "batch: '16'", "`batch` takes a whole number, but got '16'; write 16 without quotes"),
    ("batch: {choice: [16, 32]}", "batch: auto", "but got 'auto'; write a whole number such as 16"),
    ("batch: {choice: [16, 32]}", "batch: {choice: [8, true]}", "but got true; write a whole number such as 16"),
    ("imgsz: 640", "imgsz: 640.5", "but got 640.5; write 672"),
    ("imgsz: 640", "scale: much", "but got 'much'; write a number such as 0.5"),
    ("imgsz: 640", "iou_t: 0.2", "`iou_t` is a hyper-parameter of YOLOv5"),
    (
        "imgsz: 640",
        "line_thickness: 3",
        "`line_thickness` plays no role in training a detector",
    ),
    ("imgsz: 640", "mixup: [0, 0.3]", "or {float: [0, 0.3]} for the range between them"),
    ("{choice: [SGD, AdamW]}", "auto", "`optimizer` must be named, but got 'auto', which ignores lr0"),
    ("{choice: [SGD, AdamW]}", "{choice: [SGD, adamw]}", "`optimizer` must be one of SGD,"),
    ("{choice: [SGD, AdamW]}", "{choice: [SGD, adamw]}", "but got 'adamw'; did you mean AdamW?"),
    # Forms.
    (
        "{int: [0, 15]}",
        "{int: [15, 0]}",
        "`close_mosaic`: low must be below high, but got [15, 0]; swap them",
    ),
    ("{int: [0, 15]}", "{int: [5, 5]}", "low must be below high, but got [5, 5]; write 5 to fix it"),
    ("{int: [0, 15]}", "{float: [0, 15]}", "`close_mosaic` takes whole numbers, but got float; write {int:"),
    ("{int: [0, 15]}", "{int: [0, 15], log: true}", "a logarithmic range must start above 0, but got low=0"),
    (
        "{int: [0, 15]}",
        "{int: [0, 15], step: 4}",
        "`step` must divide the range, but got step=4 for [0, 15]; end at 12",
    ),
    ("{int: [0, 15]}", "{int: [0, 15], step: 0}", "`step` must be above 0, but got 0"),
    ("{int: [0, 15]}", "{int: [0, 15], step: 0.5}", "step takes a whole number, but got 0.5"),
    ("{int: [0, 15]}", "{int: [1, 15], log: true, step: 2}", "`log` and `step` exclude each other"),
    ("{int: [0, 15]}", "{int: [0, 15], log: 1}", "log takes true or false, but got 1; write `log: true`"),
    ("{int: [0, 15]}", "{int: 15}", "int takes [low, high], but got something else; write {int: [1, 9]}"),
    ("{int: [0, 15]}", "{int: [1, 2, 3]}", "int takes [low, high], but got 3 values"),
    ("{int: [0, 15]}", "{int: [0, many]}", "`close_mosaic` takes a whole number, but got 'many'"),
    ("{int: [0, 15]}", "{min: 0, max: 15}", "but got 'min'; write {float: [low, high]}"),
    (
        "{int: [0, 15]}",
        "{itn: [0, 15]}",
        "`close_mosaic` takes float, int, choice, fixed, log, step, when, but",
    ),
    ("{int: [0, 15]}", "{log: true}", "`close_mosaic` needs one of float, int, choice, fixed, but got none"),
    ("{int: [0, 15]}", "{int: [0, 15], choice: [1]}", "but got int and choice"),
    (
        "{float: [0, 5], step: 0.5}",
        "{int: [0, 5]}",
        "`warmup_epochs` takes real numbers, but got int; write {float:",
    ),
    ("{choice: [16, 32]}", "[16, 32]", "but got [16, 32]; write {choice: [16, 32]} to search these values"),
    ("{choice: [16, 32]}", "{choice: []}", "`choice` must not be empty; list two or more values"),
    ("{choice: [16, 32]}", "{choice: [32]}", "but got only 32; write `batch: 32` to fix it"),
    ("{choice: [16, 32]}", "{choice: [16, 32, 16]}", "a value may be listed once, but got 16 again"),
    (
        "{choice: [16, 32]}",
        "{choice: [16, 32], step: 2}",
        "`step` belongs to a range, but got it with choice",
    ),
    ("imgsz: 640", "imgsz: {int: [320, 640]}", "`imgsz` moves in steps of 32, but got 1; add `step: 32`"),
    (
        "mosaic: 1",
        "cos_lr: {float: [0, 1]}",
        "`cos_lr` cannot have a range, but got float; write {choice: [true, false]}",
    ),
    (
        "mosaic: 1",
        "fraction: {float: [0.1, 1]}",
        "`fraction` must be the same for every trial: trials on different",
    ),
    # Conditions.
    ("optimizer: AdamW}, float", "optimzer: AdamW}, float", "but got 'optimzer'; did you mean optimizer?"),
    (
        "optimizer: AdamW}, float",
        "optimizer: Adam}, float",
        "a possible value of `optimizer`, but got 'Adam'",
    ),
    (
        "optimizer: AdamW}, float",
        "optimizer: []}, float",
        "`when` needs a value of `optimizer`, but got an empty",
    ),
    ("optimizer: AdamW}, float", "cos_lr: true}, float", "`cos_lr` is not in this space"),
    ("optimizer: AdamW}, float", "mosaic: 1}, float", "but `mosaic` is not a choice; search it as"),
    ("when: {optimizer: AdamW}", "when: AdamW", "when takes another parameter and its values"),
    (
        "when: {optimizer: AdamW}",
        "when: {optimizer: [SGD, AdamW]}",
        "s.yaml:9: `lr0`: variants must exclude each other",
    ),
    ("{when: {optimizer: AdamW}, float", "{float", "but got optimizer=SGD (line 8) and no condition"),
    (
        "{choice: [16, 32]}",
        "{choice: [16, 32], when: {batch: 16}}",
        "must not form a cycle, but got batch -> batch",
    ),
    # The baseline.
    (
        "  lr0: 0.01",
        "  lr0: 0.5",
        "s.yaml:17: baseline: a value must be inside the space, but lr0=0.5 is outside",
    ),
    (
        "  lr0: 0.01\n",
        "",
        "s.yaml:15: baseline: every searched parameter needs a value, but `lr0 [optimizer=SGD]`",
    ),
    ("  lr0: 0.01\n", "", "add `lr0: 0.01`"),
    (
        "warmup_epochs: 3",
        "warmup_epochs: 3.2",
        "warmup_epochs=3.2 is between two steps of 0..5 in steps of 0.5",
    ),
    ("  batch: 32", "  batch: 64", "batch=64 is not one of 16, 32; change it or widen the space"),
    (
        "  batch: 32",
        "  batch: '32'",
        "baseline: `batch` takes a whole number, but got '32'; write 32 without quotes",
    ),
    ("  batch: 32", "  batch: 32\n  imgsz: 320", "`imgsz` is fixed to 640, but got 320; leave it out"),
    ("  batch: 32", "  batch: 32\n  mixup: 0", "only searched parameters have a value, but got 'mixup'"),
    ("  batch: 32", "  batch: [32]", "baseline: `batch` takes one value, but got a list or mapping"),
]


@pytest.mark.parametrize(("good", "bad", "message"), MISTAKES)
def test_each_mistake_is_reported_with_its_line(good: str, bad: str, message: str) -> None:
    assert good in GOOD

    found = messages(GOOD.replace(good, bad, 1))

    assert any(message in line for line in found), found
    assert all(line.startswith("s.yaml:") for line in found)


@pytest.mark.parametrize(("good", "bad"), [(good, bad) for good, bad, _ in MISTAKES])
def test_a_mistake_is_not_followed_by_others_that_it_causes(good: str, bad: str) -> None:
    found = messages(GOOD.replace(good, bad, 1))

    # {min:, max:} has two wrong keys.
    assert len(found) <= (2 if "min" in bad else 1), found


def test_all_mistakes_are_reported_together_in_the_order_of_lines() -> None:
    text = GOOD.replace("epochs: 54", "epochs: 0").replace("mosaic: 1", "mosaic: 2", 1).replace("16, 32", "a")

    found = messages(text)

    assert [line.split(":")[1] for line in found] == ["4", "12", "14"]


def test_mistakes_beyond_a_hundred_are_only_counted() -> None:
    found = messages(GOOD.replace("  mosaic: 1\n", "".join(f"  x{number}: 1\n" for number in range(130)), 1))

    assert len(found) == 101
    assert found[-1] == "s.yaml: and 30 more"


def test_a_baseline_value_without_effect_is_named() -> None:
    text = GOOD.replace("imgsz: 640", "nbs: {when: {optimizer: AdamW}, int: [32, 64]}")

    found = messages(text + "  nbs: 64\n")

    assert found == ["s.yaml:21: baseline: `nbs` is not active under the baseline's choices; leave it out"]


def test_a_baseline_may_not_name_arguments_that_the_augmentation_strength_sets() -> None:
    text = GOOD.replace("  mosaic: 1", "  augmentation_strength: 0.5") + "  mixup: 0\n"

    assert messages(text) == ["s.yaml:21: baseline: `mixup` follows from augmentation_strength here; leave it out"]


def test_an_optimizer_must_be_named() -> None:
    found = messages("parameters: {lr0: {float: [0.01, 0.1], log: true}}\nbaseline: {lr0: 0.01}\n")

    assert len(found) == 1
    assert "must name the optimizer" in found[0]


def test_something_must_be_searched() -> None:
    found = messages("parameters: {optimizer: SGD}\nbaseline: {}\n")

    assert "must search at least one parameter" in found[0]


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]", "3", "parameters:\n", "a: 1\n"])
def test_a_file_that_is_not_a_space_is_refused(text: str) -> None:
    assert messages(text)


@pytest.mark.parametrize("text", ["lr0: 0.01\n", "task: detect\nmode: train\nlr0: 0.01\n", "lr0: 0.01\nobj_pw: 1.0\n"])
def test_a_file_of_training_arguments_is_recognised(text: str) -> None:
    (said,) = messages(text)
    assert "these are training arguments, not a search space; pass the file to `tune train --params`" in said


def test_a_large_file_is_refused() -> None:
    assert "must not exceed 262144 bytes" in messages(GOOD + "#\n" * 200_000)[0]


def test_a_file_of_thousands_of_values_is_refused_at_once() -> None:
    found = messages(GOOD.replace("[16, 32]", "[" + "16,\n" * 20_000 + "]"))

    (line,) = found
    assert line.endswith("a space must not have more than 5000 keys and values; is this the right file?")


def test_a_long_value_is_shortened_in_its_message() -> None:
    assert len(messages(GOOD.replace("[16, 32]", "[16, " + "x" * 100_000 + "]"))[0]) < 250


def test_a_number_with_thousands_of_digits_is_out_of_range() -> None:
    assert "but got inf" in messages(GOOD.replace("mosaic: 1", "mosaic: " + "9" * 5000))[0]


def test_an_unreadable_file_is_a_space_error(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="cannot be read"):
        load_space(tmp_path / "absent.yaml")


def test_a_file_that_is_not_text_is_a_space_error(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"description: a\nmodel: \xff\n")

    with pytest.raises(SpaceError, match=r"s\.yaml:2: not UTF-8"):
        load_space(path)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())

    assert load_space(path).data == "aerial.yaml"


def space_or_space_error(text: str) -> None:
    with suppress(SpaceError):
        assert json.dumps(parse(text).canonical(), allow_nan=False)


@settings(max_examples=150)
@given(st.text(max_size=200))
def test_any_text_is_a_space_or_a_space_error(text: str) -> None:
    space_or_space_error(text)


PUNCTUATION = ["---", "{", "}", "[", "]", ":", "- ", "\n", "\n  ", "? ", "| ", "'", '"', "%", "#", "\t", "<<"]
VALUES_AND_NAMES = ["1e999", "-1", "null", "true", "0x10", "~", "float", "when", "a b", "&a", "*a", "!!int "]
NO_CHARACTERS = ["\x00", "\ud800", "\ufeff"]
FRAGMENTS = st.sampled_from([*PUNCTUATION, *VALUES_AND_NAMES, *NO_CHARACTERS])


@settings(max_examples=250)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), FRAGMENTS), min_size=1, max_size=4))
def test_a_damaged_space_is_a_space_or_a_space_error(damages: list[tuple[int, str]]) -> None:
    text = GOOD
    for position, fragment in damages:
        text = text[:position] + fragment + text[position + 1 :]

    space_or_space_error(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["float", "int", "choice", "fixed", "log", "step", "when", "optimizer", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=250)
@given(
    parameters=st.dictionaries(
        st.sampled_from(["lr0", "batch", "optimizer", "cos_lr", "imgsz", "amp", "seed"]), VALUES, max_size=4
    ),
    baseline=VALUES,
    search=VALUES,
)
def test_any_structure_is_a_space_or_a_space_error(
    parameters: dict[str, object], baseline: object, search: object
) -> None:
    parts = {"search": search, "parameters": {"optimizer": "SGD", **parameters}, "baseline": baseline}

    space_or_space_error(as_yaml(parts))


def as_yaml(value: object) -> str:
    """Return flow YAML, with .nan and .inf."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {as_yaml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(as_yaml, value)) + "]"
        case float():
            return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}.get(str(value), repr(value))
        case str():
            return "'" + value.replace("'", "''") + "'"
        case None:
            return "null"
        case _:
            return str(value).lower()


# Trackers


@pytest.mark.parametrize(
    ("value", "log"),
    [
        ("tensorboard", ("tensorboard",)),
        ("[tensorboard, mlflow]", ("tensorboard", "mlflow")),
        ("[wandb, wandb]", ("wandb",)),
        ("[]", ()),
    ],
)
def test_a_space_may_name_trackers(value: str, log: tuple[str, ...]) -> None:
    space = parse(f"log: {value}\n{GOOD}")
    assert space.log == log
    assert space.canonical() == parse(GOOD).canonical(), "a study may change them"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("tensorbord", "must be one of tensorboard, mlflow, wandb, but got 'tensorbord'; did you mean tensorboard?"),
        ("[mlflow, 3]", "must be one of tensorboard, mlflow, wandb, but got 3; choose one of them"),
        ("none", "must be one of tensorboard, mlflow, wandb, but got 'none'"),
        ("{mlflow: on}", "takes names of trackers, but got something else; write them as [tensorboard]"),
        ("[[mlflow]]", "takes names of trackers, but got something else; write them as [tensorboard]"),
    ],
)
def test_an_unknown_tracker_is_refused_with_its_line(value: str, said: str) -> None:
    (message,) = messages(f"{GOOD}log: {value}\n")
    line = len(GOOD.splitlines()) + 1
    assert message.startswith(f"s.yaml:{line}: `log` {said}")
