"""Provide invented studies, and the table of their curves."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from optuna.trial import TrialState

from tests.tuner.conftest import epoch
from tuner.contract import encode
from tuner.curve_table.schema import METADATA_KEY
from tuner.curve_table.writer import RecordedStudy, write_curves
from tuner.space import UnitCube, parse_space
from tuner.study import StudyPaths, TrialRecord

SPACE = """
search: {epochs: 4, rungs: [], trials: 9, sampler: random, promote_epochs: 20}
parameters:
  optimizer: {choice: [SGD, AdamW]}
  amp: {choice: [true, bf16, fp32]}
  cos_lr: {choice: [true, false]}
  batch: {choice: [8, 16]}
  imgsz: 64
  close_mosaic: {int: [0, 3]}
  lr0:
    - {when: {optimizer: SGD}, float: [0.001, 1.0], log: true}
    - {when: {optimizer: AdamW}, float: [0.0001, 0.1], log: true}
baseline: {optimizer: SGD, amp: true, cos_lr: false, batch: 16, close_mosaic: 2, lr0: 0.01}
"""
CURVE = (0.1, 0.2, 0.3, 0.4)
LOSSES = (4.0, 3.0, 2.0, 1.0)
DIVERGED = "diverged: the loss became NaN in epoch 3, batch 5"


@pytest.fixture
def space():
    return parse_space(SPACE, name="four", file="four.yaml")


def about(spec, space):
    """Return the spec of a study of this space."""
    settings = space.settings
    return dataclasses.replace(
        spec,
        space_name=space.name,
        space=space.canonical(),
        metric=settings.metric,
        epochs=settings.epochs,
        rungs=settings.rung_epochs,
        seed=settings.seed,
    )


class FakeStudy:
    """Study as a reader finds it: invented trials, and the records that a trainer left."""

    def __init__(self, name, spec, space, paths):
        self.final_run = None
        self.name = name
        self.spec = spec
        self._space = space
        self._paths = paths
        self._trials = []

    def trials(self):
        return tuple(self._trials)

    def trial(self, values=CURVE, state=TrialState.COMPLETE, reason="", *, box=LOSSES, dfl=0.5, leaves_records=True):
        """Add a trial: metric (None if not validated) and losses by epoch. The first is the default configuration."""
        number, cube = len(self._trials), UnitCube(self._space)
        anywhere = cube.sampled(np.random.default_rng([self.spec.seed, number]).random(len(cube.labels)))
        sampled = anywhere if number else self._space.baseline_sampled()
        params = self._space.resolve(sampled)
        if leaves_records:
            folder = self._paths.trial(number)
            folder.mkdir(parents=True)
            lines = [
                encode(
                    dataclasses.replace(
                        epoch(i, value), losses={"box": loss, "dfl": dfl}, seconds=float(i), batch=params["batch"]
                    )
                )
                for i, (value, loss) in enumerate(zip(values, box, strict=False), start=1)
            ]
            (folder / "records.jsonl").write_text("".join(f"{line}\n" for line in lines))
        self._trials.append(
            TrialRecord(
                number=number,
                state=state,
                value=values[-1] if state == TrialState.COMPLETE else None,
                curve={i: value for i, value in enumerate(values, start=1) if value is not None},
                sampled=sampled,
                params=params,
                reason=reason,
            )
        )

    def diverges(self, values=(), **more):
        self.trial(values, TrialState.PRUNED, DIVERGED, **more)

    @property
    def recorded(self):
        return RecordedStudy(study=self, paths=self._paths)


@pytest.fixture
def make(tmp_path, spec):
    """Return a function that creates a study without trials."""

    def study_of(space, name="s", **more):
        described = dataclasses.replace(about(spec, space), **more)
        return FakeStudy(name, described, space, StudyPaths.of(tmp_path / "studies", name))

    return study_of


@pytest.fixture
def study(make, space):
    return make(space)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "table.parquet"


@pytest.fixture
def written(study, file):
    """Return a function that writes the file and returns its path."""

    def write():
        write_curves(file, [study.recorded])
        return file

    return write


def rows(file, **where):
    found = pq.read_table(file).to_pylist()
    return [row for row in found if all(row[name] == value for name, value in where.items())]


def metadata_of(file):
    return json.loads(pq.read_schema(file).metadata[METADATA_KEY])
