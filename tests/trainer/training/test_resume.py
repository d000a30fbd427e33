"""A run that stops and resumes equals the run that never stopped: same losses, same values, same weights."""

import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import epochs_of, hear_all
from trainer.ultralytics_bridge import environment

environment.configure()

from trainer.training import trial  # noqa: E402 - only after the environment is set
from trainer.ultralytics_bridge import checkpoints  # noqa: E402
from tuner.contract import EpochRecord, Outcome, Stage, StartedRecord  # noqa: E402

SETTINGS = {
    # Six batches an epoch, a step after four: two are left over at every end of an epoch.
    "adamw": {"batch": 3, "nbs": 12, "mosaic": 1.0, "mixup": 0.3, "close_mosaic": 2, "cos_lr": True},
    "sgd, warm-up": {"batch": 3, "nbs": 12, "optimizer": "SGD", "lr0": 0.01, "warmup_epochs": 3.0, "mosaic": 0.5},
}


def values(records) -> list[tuple]:
    return [(r.epoch, r.losses, r.metrics, r.learning_rate) for r in epochs_of(records)]


def weights(request) -> dict[str, torch.Tensor]:
    _, checkpoint = checkpoints.load(Path(request.directory) / "weights/last.pt")
    return {**checkpoint["exact"]["model"], **{f"ema.{k}": v for k, v in checkpoint["ema"].state_dict().items()}}


@pytest.mark.parametrize(
    "params",
    [
        pytest.param(params, id=name, marks=[] if name == "adamw" else pytest.mark.slow)
        for name, params in SETTINGS.items()
    ],
)
def test_a_run_that_pauses_twice_is_bit_for_bit_the_one_that_never_does(make_request, tmp_path, one_thread, params):
    whole = make_request(tmp_path / "whole", epochs=5, validation_epochs=(2, 5), **params)
    records = []
    assert trial.run(whole, records.append).outcome == Outcome.COMPLETED
    parts = replace(whole, directory=str(tmp_path / "parts"))
    for stop_epoch in (1, 3, 5):
        heard = []
        assert trial.run(replace(parts, stop_epoch=stop_epoch), heard.append).outcome == Outcome.COMPLETED
    records, told = epochs_of(records), {record.epoch: record for record in epochs_of(heard)}
    assert [told[epoch].losses for epoch in range(1, 6)] == [record.losses for record in records]
    assert (told[2].metrics, told[5].metrics) == (records[1].metrics, records[4].metrics)
    one, other = weights(whole), weights(parts)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    rows = [Path(request.directory, "results.csv").read_text().splitlines() for request in (whole, parts)]
    assert [row.split(",")[0] for row in rows[0]] == [row.split(",")[0] for row in rows[1]]


@pytest.mark.slow
@pytest.mark.parametrize("num_killed", [2])
def test_a_run_that_is_killed_at_any_moment_has_the_losses_of_one_that_is_not(
    trainer, make_request, tmp_path, num_killed
):
    params = SETTINGS["adamw"]
    whole = make_request(tmp_path / "whole", epochs=5, validation_epochs=(2, 5), **params)
    trainer.send(whole)
    undisturbed = hear_all(trainer)
    seconds = [record.seconds for record in undisturbed if isinstance(record, EpochRecord)]
    killed = replace(whole, directory=str(tmp_path / "killed"))
    rng = random.Random(num_killed)
    for _ in range(num_killed):
        trainer.send(killed)
        pid = None
        deadline = float("inf")
        while time.monotonic() < deadline:
            for record in trainer.receive(timeout_s=0.02):
                if isinstance(record, StartedRecord):
                    pid = record.pid
                    deadline = time.monotonic() + rng.uniform(1, 1 + 2 * sum(seconds) / 3)
        assert pid is not None
        os.killpg(pid, signal.SIGKILL)
        hear_all(trainer)
    trainer.send(killed)
    assert values(hear_all(trainer)) == values(undisturbed)


@pytest.mark.parametrize("before", [True, False])
def test_a_run_resumes_in_the_mode_that_is_asked_for_now(make_request, tmp_path, before):
    modes = {}

    def look(record):
        if isinstance(record, EpochRecord):
            modes.setdefault(record.epoch, []).append(torch.are_deterministic_algorithms_enabled())

    run = make_request(tmp_path / "run", epochs=2, deterministic=before)
    assert trial.run(replace(run, stop_epoch=1), look).outcome == Outcome.COMPLETED
    now = replace(run, params={**run.params, "deterministic": not before})
    assert trial.run(now, look).outcome == Outcome.COMPLETED
    assert modes[1][0] == before
    assert modes[2] == [not before]
    assert f"deterministic: {str(not before).lower()}" in (tmp_path / "run" / "args.yaml").read_text()


# Stages: the same weights and schedule at another image size


STAGES = (Stage(last_epoch=2, imgsz=32, batch=4), Stage(last_epoch=4, imgsz=64, batch=8))


def staged(make_request, directory, *, full=False):
    return replace(make_request(directory, epochs=4, validation_epochs=(1, 2, 3, 4), full=full), stages=STAGES)


@pytest.mark.slow
def test_a_run_in_stages_is_one_run_whose_best_is_of_the_last(make_request, tmp_path, one_thread):
    request = staged(make_request, tmp_path / "run", full=True)
    records = []
    end = trial.run(request, records.append)
    assert end.outcome == Outcome.COMPLETED, end
    records = epochs_of(records)
    assert [(record.epoch, record.batch) for record in records] == [(1, 4), (2, 4), (3, 8), (4, 8)]
    rates = [record.learning_rate for record in records]
    assert rates == sorted(rates, reverse=True), "one schedule over all stages"
    _, checkpoint = checkpoints.load(Path(end.checkpoint))
    assert checkpoint["train_args"]["imgsz"] == 64
    again = []
    assert trial.run(request, again.append) == end
    assert [record.epoch for record in epochs_of(again)] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_run_in_stages_that_pauses_in_each_is_the_one_that_never_does(make_request, tmp_path, one_thread):
    records = []
    trial.run(staged(make_request, tmp_path / "whole"), records.append)
    for stop_epoch in (1, 2, 3, 4):
        heard = []
        paused = replace(staged(make_request, tmp_path / "parts"), stop_epoch=stop_epoch)
        assert trial.run(paused, heard.append).outcome == Outcome.COMPLETED
    assert [record.losses for record in epochs_of(heard)] == [record.losses for record in epochs_of(records)]
