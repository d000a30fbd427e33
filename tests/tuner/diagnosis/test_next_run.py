"""Pass files of `tune diagnose --write` to `tune train --params`."""

import inspect
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support.ultralytics_files import DEFAULTS, yaml_of
from tuner.cli.diagnose import refuse_what_train_refuses
from tuner.diagnosis import diagnose, remedies
from tuner.diagnosis._arguments import arguments_of_yaml
from tuner.diagnosis.findings import Condition, Finding
from tuner.diagnosis.next_run import next_yaml
from tuner.exceptions import SpaceError
from tuner.training.arguments_file import parameters_of, require_optimizer

REMEDIES: tuple[Callable[..., dict], ...] = (
    remedies.lower_lr0,
    remedies.longer_warm_up,
    remedies.named_optimizer,
    remedies.higher_lr0,
    remedies.weaker_augmentation,
    remedies.stronger_regularisation,
    remedies.warm_restart,
    remedies.other_optimizer,
    remedies.less_memory,
    remedies.faster_loading,
    remedies.full_precision,
    remedies.without_half_precision,
)


def written(run, text, remedy):
    """Return the file for a run with these arguments and this remedy."""
    of_run = run([3.0], params=arguments_of_yaml(text)[0], best_weights="/runs/train/weights/best.pt", planned=300)
    finding = Finding(condition=Condition.OSCILLATING, epochs=(1, 1), evidence="", advice="", changes=remedy(of_run))
    return next_yaml(replace(diagnose(of_run), findings=(finding,)))


def test_every_remedy_is_tried():
    functions = [f for name, f in inspect.getmembers(remedies, inspect.isfunction) if not name.startswith("_")]
    own = [f for f in functions if f.__module__ == remedies.__name__]
    assert {f for f in own if str(inspect.signature(f).return_annotation).startswith("dict")} == set(REMEDIES)


@pytest.mark.parametrize("optimizer", ["auto", "SGD", "AdamW"])
@pytest.mark.parametrize("version", DEFAULTS)
def test_every_remedy_for_a_run_of_every_version_is_accepted(run, version, optimizer):
    for remedy in REMEDIES:
        text = written(run, yaml_of(DEFAULTS[version], optimizer=optimizer), remedy)
        given = parameters_of(text, "next.yaml")
        require_optimizer(given)
        assert given.params["optimizer"] in ("SGD", "AdamW")


def test_an_optimizer_that_ultralytics_chose_is_named_and_reported(run):
    text = written(run, yaml_of(DEFAULTS["8.3"], lr0=0.5), remedies.weaker_augmentation)
    assert "# optimizer: auto -> SGD\n# lr0: 0.5 -> 0.01\n" in text


@pytest.mark.parametrize("changes", [{"classes": [0, 2]}, {"time": 2.0}, {"batch": -1}, {"freeze": [3, 4]}])
def test_write_refuses_what_train_would_refuse_with_the_reason(run, tmp_path, changes):
    text = written(run, yaml_of(DEFAULTS["8.3"], **changes), remedies.lower_lr0)
    with pytest.raises(SpaceError) as refused:
        refuse_what_train_refuses(text, tmp_path / "next.yaml", named=set())
    assert f"`{next(iter(changes))}`" in str(refused.value)
    assert "was not written, because `tune train` would refuse it" in str(refused.value)
