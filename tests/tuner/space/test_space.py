"""Suggest and resolve values of a space, and identify it."""

import json
import re
from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial, TrialState

from tuner.contract import ParamValue
from tuner.exceptions import SpaceError
from tuner.space import SearchSettings, Space, UnfitError, augmentation_of, default_rungs, parse_space

TEXT = """\
search: {epochs: 54, grace_epochs: 6, trials: 20}
parameters:
  optimizer: {choice: [SGD, AdamW, Adam]}
  lr0:
    - {when: {optimizer: SGD}, float: [1e-3, 0.1], log: true}
    - {when: {optimizer: [AdamW, Adam]}, float: [1e-4, 0.01], log: true}
  momentum:
    - {when: {optimizer: SGD}, float: [0.8, 0.98]}
    - {when: {optimizer: [AdamW, Adam]}, fixed: 0.9}
  cos_lr: {choice: [true, false]}
  lrf: {when: {cos_lr: true, optimizer: SGD}, float: [0.01, 0.1]}
  close_mosaic: {int: [0, 15], step: 5}
  imgsz: 640
baseline: {optimizer: SGD, lr0: 0.01, momentum: 0.937, cos_lr: false, close_mosaic: 10}
"""
SGD: dict[str, ParamValue] = {
    "optimizer": "SGD",
    "lr0 [optimizer=SGD]": 0.02,
    "momentum [optimizer=SGD]": 0.9,
    "cos_lr": True,
    "lrf [cos_lr=true, optimizer=SGD]": 0.05,
    "close_mosaic": 5,
}


def parse(text: str = TEXT) -> Space:
    return parse_space(text, name="s", file="s.yaml")


def with_strength(strength: str, more: str = "", baseline: str = "") -> Space:
    return parse(
        f"parameters:\n  optimizer: SGD\n  nbs: {{choice: [32, 64]}}\n  augmentation_strength: {strength}\n{more}"
        f"baseline:\n  nbs: 64\n{baseline}"
    )


def test_suggested_values_are_those_of_the_active_parameters() -> None:
    sampled = parse().suggest(FixedTrial(dict(SGD)))  # type: ignore[arg-type]

    assert sampled == SGD


def test_conditional_parameters_are_not_suggested_if_their_condition_fails() -> None:
    adam: dict[str, ParamValue] = {
        "optimizer": "Adam",
        "lr0 [optimizer=AdamW|Adam]": 0.001,
        "cos_lr": True,
        "close_mosaic": 0,
    }

    assert parse().suggest(FixedTrial(dict(adam))) == adam  # type: ignore[arg-type]


def test_resolved_params_have_plain_names_and_the_fixed_values() -> None:
    assert parse().resolve(SGD) == {
        "optimizer": "SGD",
        "lr0": 0.02,
        "momentum": 0.9,
        "cos_lr": True,
        "lrf": 0.05,
        "close_mosaic": 5,
        "imgsz": 640,
    }


def test_a_fixed_variant_applies_under_its_condition_only() -> None:
    adamw: dict[str, ParamValue] = {
        "optimizer": "AdamW",
        "lr0 [optimizer=AdamW|Adam]": 0.001,
        "cos_lr": False,
        "close_mosaic": 0,
    }

    assert parse().resolve(adamw)["momentum"] == 0.9


def test_resolved_values_are_native_types_for_every_suggestion() -> None:
    space, study = parse(), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))

    for _ in range(20):
        params = space.resolve(space.suggest(study.ask()))
        assert {type(value) for value in params.values()} <= {bool, int, float, str}


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"close_mosaic": None}, "'close_mosaic' is missing"), ({"mixup": 0.1}, "'mixup' is not active")],
)
def test_values_of_another_space_are_refused(changes: dict[str, Any], message: str) -> None:
    sampled = {name: value for name, value in {**SGD, **changes}.items() if value is not None}

    with pytest.raises(SpaceError, match=message):
        parse().resolve(sampled)


def test_the_order_of_lines_does_not_change_suggestions_or_identity() -> None:
    head, baseline = TEXT.partition("parameters:\n")[0], TEXT.splitlines()[-1]
    shuffled = (
        f"{baseline}\n{head}parameters:\n"
        "  imgsz: 640\n"
        "  close_mosaic: {int: [0, 15], step: 5}\n"
        "  lrf: {float: [0.01, 0.1], when: {optimizer: SGD, cos_lr: true}}\n"
        "  momentum:\n"
        "    - {when: {optimizer: [AdamW, Adam]}, fixed: 0.9}\n"
        "    - {when: {optimizer: SGD}, float: [0.8, 0.98]}\n"
        "  lr0:\n"
        "    - {when: {optimizer: [AdamW, Adam]}, float: [1e-4, 0.01], log: true}\n"
        "    - {when: {optimizer: SGD}, float: [1e-3, 0.1], log: true}\n"
        "  cos_lr: {choice: [true, false]}\n"
        "  optimizer: {choice: [SGD, AdamW, Adam]}\n"
    )

    assert parse(shuffled) == parse()
    assert parse(shuffled).canonical() == parse().canonical()


class TestBaseline:
    def test_is_given_by_the_labels_of_the_record_without_inactive_ones(self) -> None:
        assert parse().baseline_sampled() == {
            "optimizer": "SGD",
            "lr0 [optimizer=SGD]": 0.01,
            "momentum [optimizer=SGD]": 0.937,
            "cos_lr": False,
            "close_mosaic": 10,
        }

    def test_enqueued_is_exactly_the_first_proposal(self) -> None:
        space, study = parse(), optuna.create_study()
        study.enqueue_trial(space.baseline_sampled())

        trial = study.ask()

        assert trial.number == 0
        assert space.suggest(trial) == space.baseline_sampled()
        assert study.trials[0].state is TrialState.RUNNING
        assert study.trials[0].params == space.baseline_sampled()


class TestAugmentationStrength:
    @pytest.mark.parametrize(
        ("strength", "expected"),
        [
            (0.0, (0.01, 0.5, 0.3, 0.0, 0.1, 0.5, 0.5, 0.5, 0.0, 0.0)),
            (0.25, (0.0125, 0.6, 0.35, 0.0, 0.1, 0.5, 0.5, 0.75, 0.0, 0.0)),
            (0.5, (0.015, 0.7, 0.4, 0.0, 0.1, 0.5, 0.5, 1.0, 0.0, 0.0)),
            (0.75, (0.0175, 0.8, 0.45, 5.0, 0.15, 0.7, 0.5, 1.0, 0.075, 0.05)),
            (1.0, (0.02, 0.9, 0.5, 10.0, 0.2, 0.9, 0.5, 1.0, 0.15, 0.1)),
        ],
    )
    def test_moves_in_straight_lines_through_the_presets(self, strength: float, expected: tuple[float, ...]) -> None:
        names = ["hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "fliplr", "mosaic", "mixup"]

        assert augmentation_of(strength) == dict(zip([*names, "copy_paste"], expected, strict=True))

    def test_is_expanded_and_not_passed_on(self) -> None:
        space = with_strength("{float: [0, 1]}", baseline="  augmentation_strength: 0.5\n")

        params = space.resolve({"nbs": 64, "augmentation_strength": 1.0})

        assert params == {"optimizer": "SGD", "nbs": 64, **augmentation_of(1.0)}

    def test_may_be_fixed(self) -> None:
        assert with_strength("0").resolve({"nbs": 64})["mosaic"] == 0.5

    def test_gives_way_to_an_argument_that_is_named(self) -> None:
        space = with_strength("1", "  mixup: 0.3\n  degrees: {float: [0, 45]}\n", "  degrees: 0\n")

        params = space.resolve({"nbs": 64, "degrees": 20.0})

        assert (params["mixup"], params["degrees"], params["scale"]) == (0.3, 20.0, 0.9)


class TestNearest:
    """Configuration of a space that is nearest to given values."""

    def test_values_that_fit_stay_as_they_are(self) -> None:
        space = parse()

        assert space.nearest(space.resolve(SGD)) == SGD

    @pytest.mark.parametrize(
        ("name", "value", "nearest"),
        [
            ("lr0 [optimizer=SGD]", 0.5, 0.1),
            ("lr0 [optimizer=SGD]", 1e-6, 1e-3),
            ("close_mosaic", 7, 5),
            ("close_mosaic", 8.0, 10),
            ("close_mosaic", 99, 15),
        ],
    )
    def test_numbers_become_the_nearest_value_of_their_range(self, name: str, value: float, nearest: float) -> None:
        values = {**parse().resolve(SGD), name.split(" ", maxsplit=1)[0]: value}

        adapted = parse().nearest(values)

        assert adapted == {**SGD, name: nearest}
        assert type(adapted[name]) is type(SGD[name])

    def test_a_step_is_met_exactly(self) -> None:
        space = parse(
            TEXT.replace(
                "close_mosaic: {int: [0, 15], step: 5}", "close_mosaic: 5\n  scale: {float: [0.1, 0.9], step: 0.1}"
            ).replace("close_mosaic: 10", "scale: 0.5")
        )

        assert space.nearest({"scale": 0.3000001})["scale"] == 0.3

    def test_missing_values_are_those_of_the_baseline(self) -> None:
        assert parse().nearest({"lr0": 0.02, "imgsz": 320}) == {
            **parse().baseline_sampled(),
            "lr0 [optimizer=SGD]": 0.02,
        }

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"optimizer": "RMSProp"}, "`optimizer` 'RMSProp' is not one of"),
            ({"lr0": "much"}, "`lr0` 'much' is not a number in"),
            ({"lr0": float("nan")}, "`lr0` nan is not a number in"),
            ({"cos_lr": True}, "has no value, and the default configuration has none either"),
        ],
        ids=["an unknown choice", "text", "not a number", "active here, without a value anywhere"],
    )
    def test_a_configuration_that_the_space_cannot_express_is_refused(self, values: dict[str, Any], said: str) -> None:
        with pytest.raises(UnfitError, match=re.escape(said)):
            parse().nearest(values)


class TestIdentity:
    def test_is_json(self) -> None:
        canonical = parse().canonical()

        assert json.loads(json.dumps(canonical)) == canonical

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("trials: 20", "trials: 40"),
            ("trials: 20", "trials: 20, sampler: random, promote_epochs: 200"),
            ("search:", "description: more words\ndata: other.yaml\nmodel: mamba-yolo-l\nsearch:"),
            ("grace_epochs: 6", "rungs: [6, 18]"),
            ("imgsz: 640", "imgsz: {fixed: 640}  # a remark"),
        ],
    )
    def test_survives_what_a_study_may_change(self, old: str, new: str) -> None:
        assert parse(TEXT.replace(old, new)).canonical() == parse().canonical()

    @pytest.mark.parametrize(
        ("old", "new", "difference"),
        [
            ("imgsz: 640", "imgsz: 320", "imgsz: fixed 640 -> fixed 320"),
            ("imgsz: 640", "nbs: 64", "imgsz: removed, was fixed 640"),
            ("imgsz: 640", "imgsz: 640\n  nbs: 64", "nbs: added, fixed 64"),
            ("[0.8, 0.98]", "[0.8, 0.95]", "momentum [optimizer=SGD]: float [0.8, 0.98] -> float [0.8, 0.95]"),
            (
                "[1e-3, 0.1], log: true",
                "[1e-3, 0.1]",
                "lr0 [optimizer=SGD]: float [0.001, 0.1], log true -> float [0.001, 0.1]",
            ),
            ("lr0: 0.01", "lr0: 0.02", "baseline lr0: 0.01 -> 0.02"),
            ("epochs: 54", "epochs: 60", "search epochs: 54 -> 60"),
            ("grace_epochs: 6", "grace_epochs: 7", "search rungs: [6, 18] -> [7, 21]"),
            ("trials: 20", "metric: mAP50", "search metric: mAP50-95 -> mAP50"),
            ("trials: 20", "seed: 1", "search seed: 0 -> 1"),
        ],
    )
    def test_changes_are_reported_line_by_line(self, old: str, new: str, difference: str) -> None:
        changed = parse(TEXT.replace(old, new, 1))

        assert changed.canonical() != parse().canonical()
        assert difference in changed.differences(json.loads(json.dumps(parse().canonical())))

    def test_has_no_difference_from_itself(self) -> None:
        assert parse().differences(parse().canonical()) == []

    def test_differs_in_everything_from_a_record_that_says_nothing(self) -> None:
        assert "search epochs: added, 54" in parse().differences({})


class TestSettings:
    @pytest.mark.parametrize(
        ("search", "rungs"),
        [
            ("epochs: 54, grace_epochs: 6", (6, 18)),
            ("epochs: 81, grace_epochs: 5, reduction_factor: 4", (5, 15, 45)),
            ("epochs: 9, grace_epochs: 9", ()),
            ("epochs: 9, rungs: []", ()),
            ("epochs: 9, rungs: [2, 4, 9]", (2, 4)),
            ("epochs: 1", ()),
        ],
    )
    def test_rungs_follow_from_the_grace_epochs(self, search: str, rungs: tuple[int, ...]) -> None:
        text = TEXT.replace("epochs: 54, grace_epochs: 6", search)

        assert parse(text).settings.rung_epochs == rungs

    @pytest.mark.parametrize(
        ("epochs", "rungs"),
        [(300, (11, 33, 100)), (100, (4, 11, 33)), (54, (6, 18)), (27, (3, 9)), (8, (3,)), (7, ()), (1, ())],
    )
    def test_by_default_no_trial_is_judged_before_the_warm_up_is_over(
        self, epochs: int, rungs: tuple[int, ...]
    ) -> None:
        assert SearchSettings(epochs=epochs).rung_epochs == rungs

    @pytest.mark.parametrize(
        ("epochs", "rungs"), [(51, (2, 6, 17)), (27, (1, 3, 9)), (300, (11, 33, 100)), (1, ()), (2, (1,))]
    )
    def test_without_a_warm_up_the_first_rung_is_at_a_27th(self, epochs: int, rungs: tuple[int, ...]) -> None:
        assert default_rungs(epochs, warm_up=0) == rungs

    def test_default_rungs_are_those_of_the_study_that_continues(self) -> None:
        older = parse(TEXT.replace("grace_epochs: 6", "rungs: [9, 27]")).canonical()
        default = parse(TEXT.replace(", grace_epochs: 6", ""))

        assert default.settings.rung_epochs == (6, 18)
        assert default.with_default_rungs_of(older).differences(older) == []
        assert default.with_settings(epochs=81).with_default_rungs_of(older).settings.rung_epochs == (3, 9, 27)
        assert parse().with_default_rungs_of(older).settings.rung_epochs == (6, 18), "they are given"

    def test_can_be_changed_one_by_one(self) -> None:
        space = parse().with_settings(trials=5, sampler="random")

        assert (space.settings.trials, space.settings.sampler, space.settings.epochs) == (5, "random", 54)

    def test_new_rungs_take_the_place_of_grace_epochs_and_back(self) -> None:
        space = parse().with_settings(rungs=(2, 4))

        assert space.settings.rung_epochs == (2, 4)
        assert space.with_settings(grace_epochs=6).settings.rung_epochs == (6, 18)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [({"epochs": 5}, "`grace_epochs` must not exceed `epochs`"), ({"trials": 0}, "at least 1, but got 0")],
    )
    def test_are_checked_when_changed(self, changes: dict[str, int], message: str) -> None:
        with pytest.raises(SpaceError, match=message):
            parse().with_settings(**changes)  # type: ignore[arg-type]


class TestWarnings:
    @pytest.mark.parametrize(
        ("old", "new", "warning"),
        [
            (
                "[1e-3, 0.1]",
                "[1e-3, 0.5]",
                "s.yaml:5: `lr0 [optimizer=SGD]` reaches 0.5: training rarely converges above 0.1",
            ),
            ("[1e-3, 0.1], log: true", "[1e-3, 0.1]", "s.yaml:5: `lr0 [optimizer=SGD]` is searched linearly"),
            ("  imgsz: 640", "  copy_paste: 0.5", "`copy_paste` has an effect only on polygon labels"),
            ("  imgsz: 640", "  perspective: 0.1", "`perspective` reaches 0.1"),
            ("  imgsz: 640", "  rect: true", "`rect` switches mosaic and shuffling off"),
            (
                "  imgsz: 640",
                "  warmup_epochs: 6",
                "s.yaml:13: `warmup_epochs` reaches 6, but trials are compared from",
            ),
            ("[0, 15], step: 5", "[0, 60], step: 5", "s.yaml:12: `close_mosaic` is up to 60 of 54 epochs"),
            ("trials: 20", "sampler: gp", "the sampler gp ignores trials stopped early"),
            ("trials: 20", "promote_epochs: 20", "`promote_epochs` is 20, but trials train 54 epochs"),
            (
                "  imgsz: 640",
                "  warmup_momentum: {when: {optimizer: Adam}, fixed: 0.5}",
                "the Adam family does not warm up momentum",
            ),
            (
                "[AdamW, Adam]}, fixed",
                "[AdamW]}, fixed",
                "`momentum` has no variant under optimizer=Adam: ultralytics'",
            ),
        ],
    )
    def test_name_probable_mistakes(self, old: str, new: str, warning: str) -> None:
        warnings = parse(TEXT.replace(old, new, 1)).warnings

        assert len(warnings) == 1
        assert warning in warnings[0]

    def test_ranges_shared_by_optimizers_that_need_different_ones(self) -> None:
        space = parse(
            "parameters:\n  optimizer: {choice: [SGD, AdamW]}\n  lr0: {float: [0.001, 0.1], log: true}\n"
            "  momentum: {float: [0.8, 0.9]}\nbaseline: {optimizer: SGD, lr0: 0.01, momentum: 0.9}\n"
        )

        assert [warning.split(":")[1] for warning in space.warnings] == ["3", "4"]
        assert "`lr0` is shared by AdamW, SGD" in space.warnings[0]
        assert "`momentum` is shared by AdamW, SGD: for the Adam family it is beta1" in space.warnings[1]

    def test_follow_changed_settings(self) -> None:
        assert "`close_mosaic` is up to 15 of 9 epochs" in parse().with_settings(epochs=9).warnings[0]

    @pytest.mark.parametrize(("warm_up", "warned"), [(3, False), (4, True)])
    def test_a_default_rung_may_be_at_the_end_of_the_warm_up(self, warm_up: int, warned: bool) -> None:
        text = TEXT.replace("epochs: 54, grace_epochs: 6", "epochs: 27")
        space = parse(text.replace("  imgsz: 640", f"  warmup_epochs: {warm_up}", 1))

        assert space.settings.rung_epochs == (3, 9)
        assert any("trials are compared from epoch 3" in warning for warning in space.warnings) == warned
