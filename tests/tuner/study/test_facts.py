"""Facts of a study: typed in the code, plain JSON in the database, under the names of earlier studies."""

import dataclasses
import json
import math

import pytest

from tuner.exceptions import StorageError
from tuner.study import (
    EstimateFacts,
    FailedAttempt,
    FinalRunFacts,
    MemoryFacts,
    ProfilingFacts,
    SharingFacts,
    TrialFacts,
    jsonable,
)

TRIAL = TrialFacts(
    origin="yolox (https://example.org)",
    device="NVIDIA A",
    attempts=2,
    directory="/s/trials/0001",
    log="/s/trials/0001/trainer.log",
    checkpoint="/s/trials/0001/weights/last.pt",
    epochs=9,
    seconds=18.5,
    gpu_share=0.5,
    memory_gib=3.25,
    batch=16,
    scan="triton",
    metrics={"mAP50": 0.5},
    losses={1: 9.5, 3: 7.25},
    failure="hung",
    failed_attempts=(FailedAttempt(failure="hung", epoch=3, cause="no sign of life"),),
    judged=4,
    paused_at=3,
)
FINAL_RUN = FinalRunFacts(
    trial=1,
    epochs=300,
    directory="/s/promoted/x",
    state="COMPLETE",
    gpus=2,
    metrics={"mAP50": 0.5},
    checkpoint="best.pt",
)
PROFILING = ProfilingFacts(
    memory=MemoryFacts(device="NVIDIA A", too_large=((16, 640), (32, 320))),
    estimate=EstimateFacts(trials=8, slots=2, trained=(20.0, 30.0), wall=(12.0, 16.5)),
)


def through_the_database(facts):
    """Write facts to a database, and return them as read back."""
    return type(facts).decode(json.loads(json.dumps(jsonable(facts.encode()), allow_nan=False)))


@pytest.mark.parametrize("facts", [TRIAL, TrialFacts(), FINAL_RUN, PROFILING, ProfilingFacts()], ids=repr)
def test_facts_survive_the_database(facts):
    assert through_the_database(facts) == facts


def test_the_test_above_has_every_field_of_a_trial():
    assert all(getattr(TRIAL, field.name) is not None for field in dataclasses.fields(TRIAL))


def test_the_names_in_the_database_are_those_of_earlier_studies():
    assert set(TRIAL.encode()) == {
        *("device", "attempts", "directory", "log", "checkpoint", "epochs", "seconds", "gpu_share", "memory_gib"),
        *("batch", "scan"),
        *("metrics", "losses", "failure", "setbacks", "judged", "paused_at", "start_point"),
    }
    assert TRIAL.encode()["setbacks"] == [{"failure": "hung", "epoch": 3, "cause": "no sign of life"}]
    assert PROFILING.encode() == {
        "memory": {"device": "NVIDIA A", "limits": {"too_large": ((16, 640), (32, 320))}},
        "quotation": {
            "trials": 8, "slots": 2, "trained": {"low": 20.0, "high": 30.0}, "wall": {"low": 12.0, "high": 16.5},
        },
    }  # fmt: skip


def test_only_known_facts_are_written():
    assert TrialFacts(paused_at=0).encode() == {"paused_at": 0}
    assert TrialFacts().encode() == {}


def test_metrics_that_are_not_finite_are_read_as_numbers():
    metrics = through_the_database(TrialFacts(metrics={"a": math.inf, "b": -math.inf, "c": math.nan})).metrics
    assert (metrics["a"], metrics["b"], math.isnan(metrics["c"])) == (math.inf, -math.inf, True)


def test_metrics_of_the_final_run_that_are_not_finite_can_be_printed():
    final_run = through_the_database(dataclasses.replace(FINAL_RUN, metrics={"a": math.nan, "b": math.inf}))
    assert [f"{value:.4f}" for value in final_run.metrics.values()] == ["nan", "inf"]


@pytest.mark.parametrize(
    "stored",
    [
        {"seconds": "nan"},
        {"seconds": True},
        {"epochs": 2.5},
        {"device": 7},
        {"metrics": [0.5]},
        {"metrics": {"mAP50": "high"}},
        {"metrics": {"mAP50": None}},
        {"setbacks": {}},
        {"setbacks": ["hung"]},
        {"setbacks": [{"failure": "hung"}]},
        {"a users own": 1},
    ],
    ids=str,
)
def test_unknown_facts_and_wrong_types_are_left_out(stored):
    assert TrialFacts.decode(stored) == TrialFacts()


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (FinalRunFacts, {"trial": 1}),
        (ProfilingFacts, {"memory": {"device": "A"}}),
        (ProfilingFacts, {"memory": {"device": "A", "limits": {"too_large": [1]}}}),
        (ProfilingFacts, {"quotation": {"trials": 8}}),
    ],
    ids=str,
)
def test_an_incomplete_record_of_a_study_is_reported_in_one_line(kind, stored):
    with pytest.raises(StorageError, match=r"is incomplete .*; restore the database from a backup\.$") as caught:
        kind.decode(stored)
    assert "\n" not in str(caught.value)


def test_a_measurement_on_a_share_of_a_gpu_is_stored_with_the_share():
    memory = MemoryFacts(device="NVIDIA A", too_large=((16, 640),), gpu_share=0.5)
    facts = ProfilingFacts(memory=memory, sharing=SharingFacts(trials_per_gpu=2))
    assert through_the_database(facts) == facts
