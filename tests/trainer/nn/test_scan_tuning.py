"""The file with measured configurations of the Triton kernels: written, read, ignored if damaged, kept by a run."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from trainer.nn.selective_scan import _triton, tuning
from trainer.nn.selective_scan.tuning import Configuration, Gpu, MapShape, Problem

H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", "3.8.0")
A100 = Gpu("NVIDIA A100-SXM4-80GB", "8.0", "3.8.0")
PROBLEM = Problem("forward", "float32", "float32", 7, 13, 64)
TABLE = {PROBLEM: Configuration(8, 64, 12), replace(PROBLEM, direction="backward"): Configuration(4, 32, 8)}


@pytest.fixture(autouse=True)
def fresh_cache():
    tuning.load.cache_clear()
    yield
    tuning.load.cache_clear()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "configurations.json"


def test_each_kind_of_gpu_has_a_table_of_its_own(path):
    tuning.save(path, H100, {PROBLEM: Configuration(4, 64, 1)})
    tuning.save(path, A100, {PROBLEM: Configuration(4, 128, 1)})
    tuning.save(path, H100, TABLE)
    assert tuning.load(path, H100) == TABLE
    assert tuning.load(path, A100) == {PROBLEM: Configuration(4, 128, 1)}
    for other in (replace(H100, name="NVIDIA L4"), replace(H100, capability="8.9"), replace(H100, triton="3.9.0")):
        assert tuning.load(path, other) == {}


def test_without_a_file_there_is_no_table_and_no_warning(path, caplog):
    assert tuning.load(path, H100) == {}
    assert caplog.records == []


def damaged(content):
    return json.dumps(content).encode()


WHOLE = {
    "format": 1,
    "gpus": [
        {
            "name": H100.name,
            "capability": "9.0",
            "triton": "3.8.0",
            "configurations": [
                {
                    "direction": "forward",
                    "u_type": "float32",
                    "delta_type": "float32",
                    "sequences_bits": 7,
                    "length_bits": 13,
                    "channels": 64,
                    "block_length": 8,
                    "block_channels": 64,
                    "warps_per_processor": 12,
                }
            ],
        }
    ],
}


def with_value(name, value):
    row = {**WHOLE["gpus"][0]["configurations"][0], name: value}
    return damaged({**WHOLE, "gpus": [{**WHOLE["gpus"][0], "configurations": [row]}]})


def test_the_file_has_the_form_that_damaged_ones_are_made_from(path):
    path.parent.mkdir()
    path.write_bytes(damaged(WHOLE))
    assert tuning.load(path, H100) == {PROBLEM: Configuration(8, 64, 12)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"format": 1, "gpus"',
        damaged({**WHOLE, "format": 2}),
        damaged({**WHOLE, "gpus": 3}),
        with_value("block_length", 5),
        with_value("block_length", 0),
        with_value("block_length", 32),
        with_value("block_length", "8"),
        with_value("block_channels", 48),
        with_value("block_channels", 2**20),
        with_value("warps_per_processor", 0),
        with_value("warps_per_processor", True),
    ],
)
def test_a_damaged_file_is_ignored_with_one_line_and_can_be_replaced(path, caplog, content):
    path.parent.mkdir()
    path.write_bytes(content)
    for _ in range(3):
        assert tuning.load(path, H100) == {}
    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    tuning.save(path, H100, TABLE)
    assert tuning.load(path, H100) == TABLE


@pytest.fixture
def variable(monkeypatch, path):
    monkeypatch.setenv(tuning.CONFIGURATION_VARIABLE, str(path))


def test_a_run_keeps_the_configurations_that_it_began_with(variable, path, tmp_path, monkeypatch):
    tuning.save(path, H100, TABLE)
    kept = tmp_path / "run-configurations.json"
    tuning.keep(kept, resumes=False)
    tuning.save(path, H100, {})
    assert tuning.load(tuning.configuration_file(), H100) == TABLE
    assert os.environ[tuning.CONFIGURATION_VARIABLE] == str(kept)  # for the ranks of a run
    monkeypatch.setenv(tuning.CONFIGURATION_VARIABLE, str(path))  # another process, later
    tuning.keep(kept, resumes=True)
    assert tuning.load(tuning.configuration_file(), H100) == TABLE


@pytest.mark.parametrize("begins_here", [True, False])
def test_a_run_that_began_without_a_file_gets_none_when_it_resumes(variable, path, tmp_path, monkeypatch, begins_here):
    kept = tmp_path / "run-configurations.json"
    if begins_here:  # otherwise an earlier version began it
        tuning.keep(kept, resumes=False)
        monkeypatch.setenv(tuning.CONFIGURATION_VARIABLE, str(path))
    tuning.save(path, H100, TABLE)
    tuning.keep(kept, resumes=True)
    assert tuning.load(tuning.configuration_file(), H100) == {}


def test_a_run_in_a_used_folder_begins_with_the_current_file(variable, path, tmp_path, monkeypatch):
    kept = tmp_path / "run-configurations.json"
    tuning.keep(kept, resumes=False)
    monkeypatch.setenv(tuning.CONFIGURATION_VARIABLE, str(path))
    tuning.save(path, H100, TABLE)
    tuning.keep(kept, resumes=False)
    assert tuning.load(tuning.configuration_file(), H100) == TABLE


def test_the_file_is_in_the_cache_folder_unless_the_variable_names_another(monkeypatch, tmp_path):
    monkeypatch.delenv(tuning.CONFIGURATION_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tuning.configuration_file() == tmp_path / "mamba-yolo-tuner" / "scan-configurations.json"


def test_tuning_measures_every_candidate_in_both_directions_and_returns_the_fastest(monkeypatch):
    ran = []
    result = SimpleNamespace()

    def note(direction, returned):
        def run(*args):
            ran.append((direction, args[-1]))
            return returned

        return run

    monkeypatch.setattr(_triton, "_forward", note("forward", (torch.zeros(1), torch.zeros(0))))
    monkeypatch.setattr(_triton, "_backward", note("backward", result))

    def milliseconds(call):
        call()
        return 1.0 if ran[-1][1] in (_triton.FORWARD[2], _triton.BACKWARD[1]) else 2.0

    shapes = [MapShape(2, 4, 5, 128), MapShape(2, 5, 4, 128), MapShape(1, 4, 4, 32)]
    table = tuning.tune(torch.device("cpu"), shapes, milliseconds=milliseconds)
    assert table == {
        Problem("forward", "float32", "float32", 4, 5, 128): _triton.FORWARD[2],
        Problem("backward", "float32", "float32", 4, 5, 128): _triton.BACKWARD[1],
        Problem("forward", "float32", "float32", 3, 5, 32): _triton.FORWARD[-1],
        Problem("backward", "float32", "float32", 3, 5, 32): _triton.BACKWARD[1],
    }
    measured = [config for direction, config in ran if direction == "backward"]
    assert set(measured) == set(_triton.BACKWARD)
