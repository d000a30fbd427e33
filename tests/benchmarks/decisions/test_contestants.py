"""Every contestant, in its own environment if it has one, searches a table with choices and diverging runs."""

import json
import os
import subprocess

import pytest

from benchmarks.decisions.contestants import CONTESTANTS
from benchmarks.decisions.environments import ROOT, is_ready, names, python
from tests.benchmarks.decisions import synthetic
from tests.benchmarks.decisions.synthetic import CONFIGURATIONS, EPOCHS

DEFAULT = 7
GAUSSIAN_PROCESSES = {"syne-tune-0.13-mobster", "syne-tune-0.13-hyper-tune", "syne-tune-0.13-dyhpo"}
METHODS = [
    pytest.param(method, marks=[pytest.mark.slow] if method in GAUSSIAN_PROCESSES else []) for method in CONTESTANTS
]


def search(method: str, seed: int = 0, default: int | None = None) -> dict:
    """Search in the method's environment, or in this process if that is its own."""
    environment = CONTESTANTS[method].environment
    if environment is None:
        return synthetic.search(method, seed, default)
    if not is_ready(environment):
        pytest.skip(f"the environment is not set up: python -m benchmarks.decisions.environments {environment}")
    command = [
        python(environment),
        "-m",
        "tests.benchmarks.decisions.synthetic",
        method,
        str(seed),
        json.dumps(default),
    ]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("method", METHODS)
def test_a_contestant_keeps_the_workers_busy_and_always_has_an_incumbent(method):
    found = search(method)
    assert found["idle_s"] == 0
    assert sum(found["epochs"]) == pytest.approx(6 * EPOCHS, abs=2)  # an epoch of each worker may be under way
    assert len(set(found["rows"])) == len(found["rows"]) <= CONFIGURATIONS
    assert set(found["incumbents"]) <= set(found["rows"])


@pytest.mark.parametrize("method", METHODS)
def test_a_contestant_tries_a_known_default_first_and_continues_as_usual(method):
    found = search(method, default=DEFAULT)
    assert found["rows"][0] == DEFAULT
    assert found["idle_s"] == 0
    assert len(set(found["rows"])) == len(found["rows"]) > 3


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_repeats_its_decisions_and_another_seed_differs(method):
    first = search(method)
    assert search(method)["log"] == first["log"]
    assert search(method, seed=1)["log"] != first["log"]


def test_every_environment_that_a_contestant_needs_has_its_file():
    assert {c.environment for c in CONTESTANTS.values() if c.environment is not None} == set(names())
