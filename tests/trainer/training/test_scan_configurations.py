"""A run on GPUs keeps the scan configurations that it started with; a run on the CPU needs none."""

from dataclasses import replace

import pytest

from tests.trainer.training.test_identity import REQUEST
from trainer.nn.selective_scan import tuning
from trainer.training import trial
from tuner.contract import Outcome

GPU = tuning.Gpu("NVIDIA H100 80GB HBM3", "9.0", "3.8.0")
TABLE = {tuning.Problem("forward", "float32", "float32", 7, 13, 64): tuning.Configuration(8, 64, 12)}


@pytest.fixture
def seen(monkeypatch, tmp_path):
    """Return the list of tables of the runs that start to train; no run gets further."""
    tables = []

    def train(*args, **options):
        tables.append(tuning.load(tuning.configuration_file(), GPU))
        raise RuntimeError("no GPU")

    monkeypatch.setattr(trial, "SearchTrainer", train)
    monkeypatch.setenv(tuning.CONFIGURATION_VARIABLE, str(tmp_path / "measured.json"))
    return tables


def train(tmp_path, monkeypatch, *, trained, devices=(0,)):
    monkeypatch.setattr(trial.Checkpoints, "recover", lambda self, check: trained)
    monkeypatch.setenv(tuning.CONFIGURATION_VARIABLE, str(tmp_path / "measured.json"))  # a new process
    request = replace(REQUEST, params={"optimizer": "SGD"}, directory=str(tmp_path / "run"), devices=devices)
    assert trial.run(request, lambda record: None).outcome != Outcome.COMPLETED


def test_a_resumed_run_uses_the_configurations_that_it_began_with(seen, monkeypatch, tmp_path):
    tuning.save(tmp_path / "measured.json", GPU, TABLE)
    train(tmp_path, monkeypatch, trained=0)
    tuning.save(tmp_path / "measured.json", GPU, {})
    train(tmp_path, monkeypatch, trained=1)
    train(tmp_path, monkeypatch, trained=0)  # starts again
    assert seen == [TABLE, TABLE, {}]


def test_a_run_on_the_cpu_writes_no_configurations(seen, monkeypatch, tmp_path):
    train(tmp_path, monkeypatch, trained=0, devices=())
    assert len(seen) == 1
    assert list((tmp_path / "run").glob("scan-*")) == []
