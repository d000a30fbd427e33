"""Choose the trackers of a run: names, their packages, and the command line before the space."""

import importlib.util

import pytest

from tests.support.fresh_process import loaded_below, modules_loaded_by
from tuner.exceptions import UsageError
from tuner.trackers import choice
from tuner.trackers.choice import chosen_trackers
from tuner.trackers.messages import Subject
from tuner.trackers.places import place_of

SUBJECT = Subject(name="s", study_id="ab", folder="/h/s", tensorboard="/h/s/tensorboard", wandb_epochs="/h/s/w.json")


def test_without_a_choice_nothing_is_logged():
    assert chosen_trackers((), ()) == ()


def test_the_command_line_overrides_the_space():
    assert chosen_trackers((), ("tensorboard",)) == ("tensorboard",)
    assert chosen_trackers(("mlflow", "mlflow"), ("tensorboard",)) == ("mlflow",)
    assert chosen_trackers(("none",), ("tensorboard",)) == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["tensorbord"], "--log must be one of tensorboard, mlflow, wandb, none, but got 'tensorbord'; did you mean"),
        (["mlflow,wandb"], "--log must be one of"),
        ([""], "--log must be one of"),
        (["none", "wandb"], "--log none excludes other trackers, but got none, wandb"),
    ],
)
def test_an_unknown_tracker_is_refused(given, said):
    with pytest.raises(UsageError, match=said) as refused:
        chosen_trackers(given)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("mlflow", r"'mamba-yolo-tuner\[mlflow\]'"),
        ("wandb", r"'mamba-yolo-tuner\[wandb\]'"),
        ("tensorboard", "tensorboardX"),
    ],
)
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(monkeypatch, name, package):
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(
        UsageError, match=f"--log {name} needs the package .*, which is not installed: pip install {package}"
    ):
        chosen_trackers([name])


def test_a_folder_named_like_a_package_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "folder_of_runs").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(choice._PACKAGES, "wandb", ("folder_of_runs", "x"))
    assert importlib.util.find_spec("folder_of_runs") is not None
    with pytest.raises(UsageError, match="not installed"):
        chosen_trackers(["wandb"])


def test_choosing_imports_no_tracker():
    loaded = modules_loaded_by(
        "from tuner.trackers.choice import chosen_trackers; chosen_trackers(['tensorboard', 'mlflow', 'wandb'])"
    )
    assert loaded_below({"tensorboardX", "mlflow", "wandb"}, loaded) == set()


def test_places_follow_the_trackers_own_variables_and_show_no_secret(monkeypatch):
    for name in (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_EXPERIMENT_NAME",
        "MLFLOW_EXPERIMENT_ID",
        "WANDB_PROJECT",
        "WANDB_MODE",
    ):
        monkeypatch.delenv(name, raising=False)
    assert place_of("tensorboard", SUBJECT) == "event files in /h/s/tensorboard"
    assert place_of("mlflow", SUBJECT) == "experiment s"
    assert place_of("wandb", SUBJECT) == "project s"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:s3cret@host:5000/x?token=s3cret")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "detectors")
    monkeypatch.setenv("WANDB_PROJECT", "aerial")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert place_of("mlflow", SUBJECT) == "experiment detectors at https://host:5000/***"
    assert place_of("wandb", SUBJECT) == "project aerial, offline"
