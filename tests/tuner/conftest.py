"""Provide a small space, and studies of it in real databases."""

import contextlib
import shutil
import sqlite3
from dataclasses import replace

import optuna
import pytest

from tuner.contract import EndRecord, EpochRecord, Outcome, StartedRecord
from tuner.search.search import Search
from tuner.space import parse_space
from tuner.storage.database import existing_storage, open_storage
from tuner.storage.lease import study_lease
from tuner.study import StudyPaths, StudySpec, driven_study
from tuner.training.final_run import choose_winner
from tuner.trials.requests import TrialTerms
from tuner.trials.workload import Decision

SPACE = """
search: {epochs: 9, rungs: [3], strategy: asha-stopping, reduction_factor: 3, trials: 6, sampler: random,
         promote_epochs: 20}
parameters:
  optimizer: SGD
  batch: 16
  imgsz: 64
  lr0: {float: [0.0001, 1.0], log: true}
baseline: {lr0: 0.01}
"""


@pytest.fixture
def space():
    return parse_space(SPACE, name="small", file="small.yaml")


@pytest.fixture
def paths(tmp_path):
    paths = StudyPaths.of(tmp_path, "s")
    paths.create()
    return paths


@pytest.fixture
def spec(space):
    return study_spec(space)


def study_spec(space):
    """Return the spec of a study of this space."""
    settings = space.settings
    return StudySpec(
        space_name=space.name,
        space=space.canonical(),
        metric=settings.metric,
        model="mamba-yolo-n",
        model_source="/models/mamba-yolo-n.yaml",
        portable_model="/models/mamba-yolo-n-untrained.pt",
        data="sample",
        data_source="/data/dataset.yaml",
        data_sha256="0" * 64,
        num_classes=6,
        num_images={"train": 80, "val": 20},
        num_parameters=1000,
        checkpoint_bytes=1000,
        epochs=settings.epochs,
        rungs=settings.rung_epochs,
        reduction_factor=settings.reduction_factor,
        promote_epochs=settings.promote_epochs,
        seed=settings.seed,
        versions={"torch": "2.14.1"},
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """Create an SQLite file with Optuna's tables, once: this takes longer than most tests."""
    path = tmp_path_factory.mktemp("empty") / "study.db"
    open_storage(f"sqlite:///{path}").engine.dispose()
    return path


@pytest.fixture
def url(paths, empty_database):
    shutil.copy(empty_database, paths.database)
    return f"sqlite:///{paths.database}"


@contextlib.contextmanager
def driven(url, spec, paths, name="s", on_event=lambda line: None):
    """Drive a study in this process for the duration of the block."""
    with study_lease(url, name) as lease, driven_study(lease, spec, paths.journal, on_event) as study:
        yield study


@pytest.fixture
def study(url, spec, paths):
    """Yield a study that this process drives."""
    with driven(url, spec, paths) as study:
        yield study


@contextlib.contextmanager
def locked(url):
    """Lock a database against writes for the duration of the block."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def stored(url, name="s"):
    """Return the study's trials in the database as plain Optuna sees them."""
    with existing_storage(url) as storage:
        return optuna.load_study(storage=storage, study_name=name).get_trials()


@pytest.fixture
def terms():
    return TrialTerms(threads=1, gpus_per_trial=0, validate_every_epoch=False)


@pytest.fixture
def search(study, space, paths, terms):
    return Search(study, space, paths, terms)


@pytest.fixture
def winner(study, search):
    """Choose trial 1 as the winner, with 0.30; the default configuration has 0.25."""
    play(search, search.suggest(), 0.1, 0.25)
    play(search, search.suggest(), 0.1, 0.3)
    return choose_winner(study)


def epoch(number, value=None, *, box=1.0, seconds=2.0):
    """Return the record of an epoch. It is validated if it has a value."""
    return EpochRecord(
        epoch=number,
        losses={"box": box},
        metrics=None if value is None else {"mAP50-95": value, "mAP50": value, "precision": 0.0, "recall": 0.0},
        seconds=seconds,
        memory_gib=0.5,
        learning_rate=0.01,
        batch=16,
        checkpoint="last.pt",
    )


def play(search, request, at_rung, at_end, *, epoch_s=2.0):
    """Train a trial to its end or until it has to stop. Return the decision that ended it."""
    search.report(request.trial, StartedRecord(pid=1, device="CPU"))
    for number in range(1, 10):
        value = {3: at_rung, 9: at_end}.get(number)
        decision = search.report(request.trial, epoch(number, value, seconds=epoch_s))
        if decision == Decision.STOP:
            return decision
    return search.report(request.trial, EndRecord(outcome=Outcome.COMPLETED))


@pytest.fixture
def make_study(tmp_path, spec, space, terms, empty_database):
    """Return a function that creates a study of two complete trials in its own home, and returns its folder."""

    def make(home, *, name="s", best=0.3, settings=None, storage=None, **changes):
        paths = StudyPaths.of(tmp_path / home, name)
        paths.create()
        if storage is None:
            shutil.copy(empty_database, paths.database)
        own = space.with_settings(**(settings or {}))
        changed = {"space": own.canonical(), "epochs": own.settings.epochs, "seed": own.settings.seed, **changes}
        with driven(storage or f"sqlite:///{paths.database}", replace(spec, **changed), paths, name) as study:
            search = Search(study, own, paths, terms)
            play(search, search.suggest(), 0.1, 0.25)
            play(search, search.suggest(), 0.1, best)
            study.flush(10)
        return paths.root

    return make
