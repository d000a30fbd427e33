"""A search on real Ray with a scripted trainer: slots, early stops, signals, kills."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.conftest import SCRIPTED_TRAINER

SPACE = """
search: {epochs: 9, rungs: [3], reduction_factor: 3, trials: %d, sampler: random, promote_epochs: 4}
parameters:
  optimizer: SGD
  batch: 16
  imgsz: 64
  lr0: {float: [0.0001, 0.9], log: true}
baseline: {lr0: 0.01}
"""
TIMEOUT_S = 120


class Bench:
    """A folder with a space, a journal, and the command line to run over them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.journal = folder / "journal.jsonl"

    def command(self, verb, *arguments):
        return [sys.executable, "-m", "tuner", verb, *arguments]

    def run_arguments(self, *, epoch_seconds, more=()):
        trainer = f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds {epoch_seconds} --journal {self.journal}"
        return ["--space", "space.yaml", "--study", "s", "--plain", "--trainer", trainer, *more]

    def start(self, **options):
        command = self.command("run", *self.run_arguments(**options))
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, **options):
        process = self.start(**options)
        output, _ = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, output

    def status(self):
        command = self.command("status", "s", "--json")
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def events(self, kind):
        if not self.journal.exists():
            return []
        return [e for e in map(json.loads, self.journal.read_text().splitlines()) if e["event"] == kind]

    def wait_for(self, condition):
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, "the run did not get that far"
            time.sleep(0.05)


@pytest.fixture
def bench(tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE % 8)
    return Bench(tmp_path)


def test_a_search_ends_with_right_states_a_promoted_run_and_parameters(bench):
    code, output = bench.run(epoch_seconds=0.02, more=["--parallel", "2"])
    assert code == 0, output
    status = bench.status()
    assert status["counts"] == {"RUNNING": 0, "WAITING": 0, "FAIL": 0, **_ended(status)}
    assert sum(_ended(status).values()) == 8
    assert status["counts"]["COMPLETE"] >= 1
    assert status["counts"]["PRUNED"] >= 1
    assert status["trials"][0]["params"]["lr0"] == 0.01
    for trial in status["trials"]:
        assert set(trial["curve"]) == ({"3", "9"} if trial["state"] == "COMPLETE" else {"3"})
    assert status["promotion"]["state"] == "COMPLETE"
    assert (bench.folder / "studies/s/params.yaml").exists()


def _ended(status):
    return {name: status["counts"][name] for name in ("COMPLETE", "PRUNED")}


def test_a_configuration_sure_to_diverge_is_pruned_in_its_first_epoch_and_harms_no_other(bench):
    text = (SPACE % 6).replace("{float: [0.0001, 0.9], log: true}", "{choice: [0.01, 0.02, 1000000.0]}")
    (bench.folder / "space.yaml").write_text(text)
    code, output = bench.run(epoch_seconds=0.02, more=["--parallel", "2", "--no-promote"])
    assert code == 0, output
    diverging = [t for t in bench.status()["trials"] if t["params"]["lr0"] == 1e6]
    assert diverging, "the seed draws one"
    assert all(t["state"] == "PRUNED" and t["reason"].startswith("diverged") for t in diverging)
    assert all(t["epochs"] == 0 for t in diverging)
    assert bench.status()["counts"]["FAIL"] == 0


@pytest.fixture
def cluster_with_8_gpus():
    """A running Ray cluster that believes in eight GPUs; its address."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 8, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


def test_eight_logical_gpus_train_eight_trials_at_once_and_never_two_on_one(bench, cluster_with_8_gpus):
    (bench.folder / "space.yaml").write_text(SPACE % 20)
    more = ["--address", cluster_with_8_gpus, "--gpus", "8", "--no-promote"]
    code, output = bench.run(epoch_seconds=0.5, more=more)
    assert code == 0, output
    moments = [(e["time"], 1, e["gpu"]) for e in bench.events("start")]
    moments += [(e["time"], -1, e["gpu"]) for e in bench.events("end")]
    on_gpu, most = Counter(), 0
    for _, change, gpu in sorted(moments):
        on_gpu[gpu] += change
        assert on_gpu[gpu] <= 1, f"two trials on GPU {gpu}"
        most = max(most, sum(on_gpu.values()))
    assert most == 8
    assert set(on_gpu) == {str(i) for i in range(8)}


def test_more_gpus_than_there_are_is_told_in_one_line(bench):
    code, output = bench.run(epoch_seconds=0.02, more=["--gpus", "8"])
    assert code == 5
    assert output.strip().splitlines()[-1].startswith("--gpus must be at most the number of GPUs that Ray sees")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_in_order_and_the_same_command_goes_on(bench, signum, code):
    process = bench.start(epoch_seconds=0.3, more=["--parallel", "2", "--no-promote"])
    bench.wait_for(lambda: len(bench.events("epoch")) >= 8)
    process.send_signal(signum)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == code, output
    assert bench.status()["counts"]["RUNNING"] == 0
    assert bench.status()["counts"]["WAITING"] >= 1
    code, output = bench.run(epoch_seconds=0.02, more=["--parallel", "2", "--no-promote"])
    assert code == 0, output
    assert sum(_ended(bench.status()).values()) == 8


def test_a_killed_driver_loses_nothing_and_the_same_command_ends_the_study(bench):
    process = bench.start(epoch_seconds=0.3, more=["--parallel", "2", "--no-promote"])
    bench.wait_for(lambda: len(bench.events("epoch")) >= 12)
    process.kill()
    process.communicate(timeout=30)
    before = {t["number"]: t for t in bench.status()["trials"]}
    trainers = {e["pid"] for e in bench.events("start")}
    bench.wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in trainers))

    code, output = bench.run(epoch_seconds=0.02, more=["--parallel", "2", "--no-promote"])
    assert code == 0, output
    status = bench.status()
    assert [t["number"] for t in status["trials"]] == list(range(8))
    assert sum(_ended(status).values()) == 8
    for number, trial in before.items():
        assert status["trials"][number]["params"] == trial["params"]
        if trial["state"] in ("COMPLETE", "PRUNED"):
            assert status["trials"][number] == trial
    trained = Counter((e["trial"], e["epoch"]) for e in bench.events("epoch"))
    assert max(trained.values()) == 1, "an epoch was trained twice"


def test_a_killed_trainer_goes_on_from_its_last_epoch_in_the_same_trial(bench):
    process = bench.start(epoch_seconds=0.3, more=["--parallel", "1", "--no-promote", "--trials", "2"])
    bench.wait_for(lambda: len(bench.events("epoch")) >= 5)
    os.kill(bench.events("start")[-1]["pid"], signal.SIGKILL)
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, output
    assert [t["state"] for t in bench.status()["trials"]] == ["COMPLETE", "COMPLETE"]
    trained = Counter((e["trial"], e["epoch"]) for e in bench.events("epoch"))
    assert max(trained.values()) == 1


def test_a_second_driver_is_refused_and_the_first_goes_on(bench):
    process = bench.start(epoch_seconds=0.3, more=["--parallel", "2", "--no-promote", "--trials", "3"])
    bench.wait_for(lambda: bench.events("epoch"))
    code, output = bench.run(epoch_seconds=0.02)
    assert code == 9
    assert f"process {process.pid}" in output
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, output


def test_a_trainer_that_always_fails_stops_the_study_and_shows_the_failure(bench):
    arguments = bench.run_arguments(epoch_seconds=0.02)
    arguments[arguments.index("--trainer") + 1] += " --fail 'no kernel image'"
    done = subprocess.run(
        bench.command("run", *arguments),
        cwd=bench.folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 7
    assert "no kernel image" in done.stderr
    assert bench.status()["counts"]["FAIL"] >= 3


def test_a_changed_space_is_refused_with_the_difference(bench):
    assert bench.run(epoch_seconds=0.02, more=["--no-promote", "--trials", "1"])[0] == 0
    (bench.folder / "space.yaml").write_text((SPACE % 8).replace("batch: 16", "batch: 32"))
    code, output = bench.run(epoch_seconds=0.02)
    assert code == 3
    assert "batch" in output


def test_more_trials_go_on_with_the_same_study(bench):
    assert bench.run(epoch_seconds=0.02, more=["--no-promote", "--trials", "2"])[0] == 0
    assert bench.run(epoch_seconds=0.02, more=["--no-promote", "--trials", "4"])[0] == 0
    assert len(bench.status()["trials"]) == 4
