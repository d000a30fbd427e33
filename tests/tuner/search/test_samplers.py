"""Samplers: proposals depend only on the seed, the number and the study's record."""

import importlib.util
import warnings
from collections.abc import Iterator

import optuna
import pytest
from optuna.trial import TrialState

from tuner.contract import ParamValue
from tuner.exceptions import MachineError
from tuner.search import samplers
from tuner.search.samplers import chosen_sampler, make_sampler
from tuner.space import Space, parse_space

CONDITIONAL = """\
search: {epochs: 27, grace_epochs: 3, trials: 16}
parameters:
  optimizer: {choice: [SGD, AdamW]}
  lr0:
    - {when: {optimizer: SGD}, float: [1e-3, 0.1], log: true}
    - {when: {optimizer: AdamW}, float: [1e-4, 0.01], log: true}
  weight_decay: {float: [1e-5, 1e-2], log: true}
  close_mosaic: {int: [0, 15], step: 5}
baseline: {optimizer: SGD, lr0: 0.01, weight_decay: 5e-4, close_mosaic: 10}
"""
NUMERIC = """\
search: {epochs: 27, rungs: [], trials: 16}
parameters:
  optimizer: SGD
  lr0: {float: [1e-3, 0.1], log: true}
  mixup: {float: [0, 0.5]}
  close_mosaic: {int: [0, 15]}
baseline: {lr0: 0.01, mixup: 0, close_mosaic: 10}
"""


def has_packages(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


SAMPLERS = [
    "tpe",
    "random",
    pytest.param("cmaes", marks=pytest.mark.skipif(not has_packages("cmaes"), reason="needs cmaes")),
    pytest.param("gp", marks=pytest.mark.skipif(not has_packages("scipy", "torch"), reason="needs scipy, torch")),
]


def parse(text: str) -> Space:
    return parse_space(text, name="s", file="s.yaml")


@pytest.fixture(autouse=True)
def quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def score(params: dict[str, ParamValue]) -> float:
    """Return an invented mAP that is best at lr0 = 0.02."""
    lr0 = params["lr0"]
    assert isinstance(lr0, float)
    return 0.5 - abs(lr0 - 0.02)


def ask_and_tell(study: optuna.Study, name: str, space: Space, until: int) -> list[dict[str, ParamValue]]:
    """Ask and tell up to a number of trials. Every third is stopped early if there are rungs."""
    proposals = []
    for number in range(len(study.trials), until):
        study.sampler = make_sampler(name, seed=7, number=number, space=space)
        trial = study.ask()
        proposals.append(space.suggest(trial))
        value = score(space.resolve(proposals[-1]))
        if space.settings.rung_epochs and number % 3:
            trial.report(value, step=3)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.report(value, step=27)
            study.tell(trial, value)
    return proposals


def searched(name: str, space: Space, until: int) -> tuple[optuna.Study, list[dict[str, ParamValue]]]:
    study = optuna.create_study(direction="maximize")
    return study, ask_and_tell(study, name, space, until)


def reopened(study: optuna.Study) -> optuna.Study:
    """Open a study that only knows the record."""
    copy = optuna.create_study(direction="maximize")
    copy.add_trials(study.get_trials())
    return copy


@pytest.mark.parametrize("text", [CONDITIONAL, NUMERIC], ids=["conditional", "numeric"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_resumed_search_proposes_what_an_uninterrupted_one_does(name: str, text: str) -> None:
    space = parse(text)
    _, uninterrupted = searched(name, space, 12)

    study, before = searched(name, space, 7)
    after = ask_and_tell(reopened(study), name, space, 12)

    assert before + after == uninterrupted


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_proposal_is_made_twice(name: str) -> None:
    # A Gaussian process ignores trials stopped early, so none is here.
    _, proposals = searched(name, parse(NUMERIC), 12)

    assert len({tuple(sorted(p.items())) for p in proposals}) == 12


def test_another_seed_makes_other_proposals() -> None:
    space = parse(CONDITIONAL)

    first, second = (
        space.suggest(optuna.create_study(sampler=make_sampler("tpe", seed=s, number=0, space=space)).ask())
        for s in (1, 2)
    )

    assert first != second


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_are_silent(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", optuna.exceptions.ExperimentalWarning)
        searched(name, parse(CONDITIONAL), 7)


def test_the_filter_for_warnings_is_left_as_it_was() -> None:
    before = list(warnings.filters)

    make_sampler("tpe", seed=0, number=0, space=parse(CONDITIONAL))

    assert warnings.filters == before


def test_parallel_proposals_keep_their_distance() -> None:
    space, study = parse(CONDITIONAL), optuna.create_study(direction="maximize")
    ask_and_tell(study, "tpe", space, 8)
    proposals = []
    for number in range(8, 12):
        study.sampler = make_sampler("tpe", seed=7, number=number, space=space)
        proposals.append(tuple(sorted(space.suggest(study.ask()).items())))

    assert len(set(proposals)) == 4


def test_tpe_comes_closer_to_the_best_than_random_search() -> None:
    space = parse(NUMERIC).with_settings(trials=40)

    best = {name: searched(name, space, 40)[0].best_value for name in ("tpe", "random")}

    assert best["tpe"] > best["random"]


class TestAuto:
    def test_is_tpe_if_trials_are_stopped_early(self) -> None:
        assert chosen_sampler(parse(NUMERIC).with_settings(strategy="asha-stopping", rungs=(3, 9))) == "tpe"

    def test_is_tpe_if_there_are_choices(self) -> None:
        assert chosen_sampler(parse(CONDITIONAL).with_settings(strategy="asha-stopping", rungs=())) == "tpe"

    def test_is_tpe_for_many_trials(self) -> None:
        assert chosen_sampler(parse(NUMERIC).with_settings(strategy="asha-stopping", trials=101)) == "tpe"

    @pytest.mark.parametrize(("is_installed", "expected"), [(True, "gp"), (False, "tpe")])
    def test_is_gp_for_few_numeric_full_trials_if_it_is_installed(
        self, is_installed: bool, expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(samplers, "_PACKAGES", {"gp": () if is_installed else ("no_such_package",)})

        assert chosen_sampler(parse(NUMERIC).with_settings(strategy="asha-promotion")) == expected

    def test_is_the_model_of_the_strategy_auto(self) -> None:
        assert chosen_sampler(parse(NUMERIC)) == "model"

    def test_is_only_a_default(self) -> None:
        assert chosen_sampler(parse(NUMERIC).with_settings(sampler="tpe")) == "tpe"


def test_a_sampler_whose_package_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "_PACKAGES", {"gp": ("no_such_package",)})

    with pytest.raises(MachineError, match="no_such_package, which cannot be imported; install it"):
        make_sampler("gp", seed=0, number=0, space=parse(NUMERIC))
