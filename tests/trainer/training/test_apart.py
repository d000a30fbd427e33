"""Real training on machines that share no folder: two trainers with their own caches, and a store."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import epochs_of, hear_all
from trainer.artifacts.file_system import Folder
from tuner.contract import Outcome
from tuner.contract.artifacts import decode_manifest, manifest_name
from tuner.execution.trainer_process import TrainerProcess

THERE = "/far/studies/s/trials/0000"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that makes a trainer with its own cache, as on another machine."""
    made = []

    def make(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        made.append(TrainerProcess([sys.executable, "-m", "trainer", "serve"]))
        return made[-1]

    yield make
    for trainer in made:
        trainer.close()


@pytest.fixture
def far_request(train_request, prepared, data_yaml, tmp_path):
    """Return a function that makes the request of a tuner on another machine."""

    def make(attempt, **options):
        return replace(
            train_request(**options),
            data=str(data_yaml),
            model="mamba-yolo-n",
            data_sha256=prepared.data_sha256,
            model_sha256=prepared.model_sha256,
            directory=THERE,
            shares_files=False,
            artifacts=str(tmp_path / "store" / "trials" / "0000"),
            attempt=attempt,
        )

    return make


def stored(tmp_path, attempt):
    """Return the name and content of each file of a run in the store."""
    run = Folder(str(tmp_path / "store" / "trials" / "0000"))
    files = decode_manifest(run.read(manifest_name(attempt))).files
    return {name: run.read(f"objects/{digest}") for name, digest in files.items()}


def runs_on(tmp_path, name):
    return list((tmp_path / name / "mamba-yolo-tuner" / "runs").iterdir())


@pytest.mark.slow
def test_a_trial_that_stops_on_one_machine_resumes_on_another_as_if_nothing_had_happened(
    machine, far_request, tmp_path
):
    one = machine("one")
    one.send(far_request(1, epochs=4, validation_epochs=(4,)))
    heard = []
    while len(epochs_of(heard)) < 2:
        heard += one.receive(timeout_s=120)
    one.stop_request()
    assert runs_on(tmp_path, "one") == [], "its files are in the store, and not here any more"
    assert epochs_of(heard)[0].checkpoint == f"{THERE}/weights/last.pt"
    two = machine("two")
    two.send(far_request(2, epochs=4, validation_epochs=(4,)))
    records = hear_all(two)
    assert records[-1].outcome == Outcome.COMPLETED
    assert records[-1].log == f"{THERE}/trainer.log"
    assert [record.epoch for record in epochs_of(records)] == [1, 2, 3, 4]
    assert [record.seconds for record in epochs_of(records)[:2]] == [record.seconds for record in epochs_of(heard)[:2]]
    assert runs_on(tmp_path, "two") == []
    files = stored(tmp_path, 2)
    assert {"weights/last.pt", "records.jsonl", "end.json", "trainer.log", "results.csv"} <= set(files)
    assert len(files["records.jsonl"].splitlines()) == 4
    assert files["trainer.log"].count(b"trainer INFO epoch 1/4:") == 1
    assert b"resuming from epoch" in files["trainer.log"]


@pytest.mark.slow
def test_a_full_run_leaves_all_of_its_files_in_the_store(machine, far_request, tmp_path):
    one = machine("one")
    one.send(far_request(1, epochs=2, validation_epochs=(1, 2), full=True))
    end = hear_all(one)[-1]
    assert (end.outcome, end.checkpoint) == (Outcome.COMPLETED, f"{THERE}/weights/best.pt")
    files = stored(tmp_path, 1)
    assert {"weights/best.pt", "results.png", "class-metrics.csv", "args.yaml"} <= set(files)
    two = machine("two")
    two.send(far_request(2, epochs=2, validation_epochs=(1, 2), full=True))
    again = hear_all(two)[-1]
    assert (again.outcome, again.metrics) == (Outcome.COMPLETED, end.metrics), "it is not trained again"


@pytest.mark.slow
def test_a_training_process_that_is_killed_has_its_last_epoch_in_the_store(machine, far_request, tmp_path):
    one = machine("one")
    one.send(far_request(1, epochs=50, validation_epochs=()))
    heard = []
    while len(epochs_of(heard)) < 2:
        heard += one.receive(timeout_s=120)
    os.kill(heard[0].pid, signal.SIGKILL)
    heard += hear_all(one)
    assert heard[-1].retryable
    files = stored(tmp_path, 1)
    assert max(json.loads(files["weights/checkpoints.json"]).values()) >= epochs_of(heard)[-1].epoch
    assert json.loads(files["end.json"])["outcome"] == "error"


def test_a_machine_with_another_data_set_trains_nothing(machine, far_request, tmp_path):
    one = machine("one")
    one.send(replace(far_request(1), data_sha256="0" * 64))
    end = hear_all(one)[-1]
    assert end.outcome == Outcome.BAD_DATA
    assert "All machines must have the same data set, but" in end.message
    assert b"All machines must have" in stored(tmp_path, 1)["end.json"]
    assert Path(THERE).exists() is False
