"""`tune doctor --gpu`: the checks for each device, and the result of one that fails."""

import json
import shlex
import sys
import time

import pytest

from tests.conftest import SCRIPTED_TRAINER
from tuner.contract import Gpu
from tuner.exceptions import MachineError, UsageError
from tuner.workflows.device_check import checks, faults, report, session
from tuner.workflows.device_check.checks import Scope
from tuner.workflows.device_check.results import Status
from tuner.workflows.doctor import Findings

TRAINER_CHECKS = (
    *("scan-tuning", "scan-accuracy", "scan-speed", "model-speed"),
    *("determinism", "memory", "sharing", "loading"),
)
H100, T4 = (Gpu(name=name, memory_gib=80.0) for name in ("H100", "T4"))


@pytest.fixture
def trainer(tmp_path):
    """Return the command of a scripted trainer, with a folder for its faults."""
    (tmp_path / "faults").mkdir()
    return (
        *(sys.executable, str(SCRIPTED_TRAINER), "--epoch-seconds", "0.1", "--records"),
        *("--faults", str(tmp_path / "faults")),
    )


@pytest.fixture
def begun():
    return []


def made(trainer, begun, gpus=()):
    scope = Scope(command=trainer, gpus=gpus, limit_s=300.0, only=TWO)
    return list(checks.run(scope, on_begin=lambda name, device: begun.append((name, device))))


def planned(gpus):
    scope = Scope(command=(), gpus=gpus, limit_s=1.0)  # too short for any of them
    return [(result.name, result.device) for result in checks.run(scope, on_begin=pytest.fail)]


# Checks by device


def test_a_cpu_gets_every_check():
    assert planned(()) == [(name, "cpu") for name in (*TRAINER_CHECKS, "resume", "ranks", "search")]


def test_gpus_of_one_kind_all_compute_and_the_first_is_measured():
    plan = planned((H100, H100))
    assert [device for name, device in plan if name == "scan-accuracy"] == ["cuda:0", "cuda:1"]
    assert {device for name, device in plan if name in set(TRAINER_CHECKS) - {"scan-accuracy"}} == {"cuda:0"}
    assert ("ranks", "cuda:0, cuda:1") in plan
    assert ("search", "cuda:0, cuda:1") in plan


def test_each_kind_of_gpu_is_measured():
    plan = planned((H100, T4, H100, T4))
    assert [device for name, device in plan if name == "model-speed"] == ["cuda:0", "cuda:1"]


def test_when_the_time_is_over_the_rest_is_skipped_with_the_reason():
    scope = Scope(command=(), gpus=(H100,), limit_s=1.0)
    results = list(checks.run(scope, on_begin=pytest.fail))
    assert {result.status for result in results} == {Status.SKIPPED}
    assert "(--max-minutes)" in results[0].notes[0]


# Results of a check


TWO = ("scan-accuracy", "memory")


def test_a_check_that_crashes_ends_only_itself(trainer, begun, tmp_path):
    (tmp_path / "faults" / "check-scan-accuracy-kill").touch()
    crashed, memory = made(trainer, begun)
    assert crashed.status == Status.UNFINISHED
    assert crashed.problems == ("scan-accuracy on cpu: the trainer was killed by SIGKILL",)
    assert memory.status == Status.PASSED
    assert begun == [("scan-accuracy", "cpu"), ("memory", "cpu")]


def test_a_check_that_hangs_is_ended_after_its_time_limit(trainer, begun, tmp_path, monkeypatch):
    monkeypatch.setitem(checks._LIMITS_S, checks.DeviceCheck.SCAN_ACCURACY, 3)
    (tmp_path / "faults" / "check-scan-accuracy-hang").touch()
    hung, memory = made(trainer, begun)
    assert (hung.status, hung.problems) == (Status.UNFINISHED, ("scan-accuracy on cpu: it did not end within 3 s",))
    assert memory.status == Status.PASSED


def test_a_wrong_result_is_a_problem(trainer, begun, tmp_path):
    (tmp_path / "faults" / "check-memory-wrong").touch()
    accuracy, memory = made(trainer, begun)
    assert (memory.status, memory.problems) == (Status.PROBLEM, ("cpu computes nonsense",))
    assert accuracy.tables[0].rows[0]["small"] is True, "on a CPU, the small form"


def test_on_a_gpu_the_check_is_not_the_small_one(trainer, begun):
    accuracy, _ = made(trainer, begun, gpus=(H100,))
    assert accuracy.tables[0].rows[0]["small"] is False


def test_a_trainer_without_this_request_is_refused_with_the_remedy(begun):
    unknowing = (sys.executable, "-c", _UNKNOWING)
    with pytest.raises(MachineError, match="answers 'check_device' requests"):
        made(unknowing, begun)


_UNKNOWING = """
import sys
from tuner.contract import EndRecord, Outcome, encode
for line in sys.stdin:
    print(encode(EndRecord(outcome=Outcome.UNSUPPORTED, message="what?")), flush=True)
"""


# A killed final run


def test_a_final_run_that_is_killed_and_resumed_is_compared_with_one_that_is_not(trainer):
    result = faults.check_resume(trainer, "cpu", timeout_s=60)
    assert result.status == Status.PASSED, result
    assert result.tables[0].rows == ({"killed_after_epoch": 1, "epochs": 3, "identical": True},)


def test_a_resumed_run_with_other_values_is_a_problem(tmp_path):
    """Use a trainer that forgets its training, and returns another metric each time."""
    forgetful = (sys.executable, "-c", _FORGETFUL)
    result = faults.check_resume(forgetful, "cpu", timeout_s=60)
    assert result.status == Status.PROBLEM
    assert result.problems == ("the resumed final run differs from one that was never killed, in losses or metrics",)


_TRAINER = """
import os, subprocess, sys, time
from pathlib import Path
from tuner.contract import *

def send(record):
    print(encode(record), flush=True)

def epoch(number, metric):
    metrics = dict.fromkeys(METRICS, metric)
    send(EpochRecord(epoch=number, losses={"box": 1.0}, metrics=metrics, seconds=0.1, memory_gib=1.0,
                     learning_rate=0.01, batch=16, checkpoint=""))

for line in sys.stdin:
    request = decode(line)
    send(StartedRecord(pid=os.getpid(), device="scripted"))
    if request.type == "prepare":
        send(PreparedRecord(data="d", data_sha256="", num_classes=1, num_images={}, model="m", portable_model="m",
                            num_parameters=1, checkpoint_bytes=1, versions={}))
        send(EndRecord(outcome=Outcome.COMPLETED))
        continue
"""
_FORGETFUL = f"""{_TRAINER}
    for number in (1, 2, 3):
        epoch(number, time.monotonic() % 1)
        time.sleep(0.3)
    send(EndRecord(outcome=Outcome.COMPLETED))
"""
_RANKS = f"""{_TRAINER}
    mark = Path(request.directory)
    if not mark.exists():
        mark.mkdir(parents=True)
        rank = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "trainer.commands.rank"])
        epoch(1, 0.1)
        rank.wait()
        time.sleep(AFTER_S)
        send(EndRecord(outcome=Outcome.ERROR, message="rank 1 was killed", retryable=RETRYABLE))
        continue
    for number in (1, 2, 3):
        epoch(number, 0.1)
    send(EndRecord(outcome=Outcome.COMPLETED))
"""


@pytest.mark.parametrize(
    ("after_s", "retryable", "problems"),
    [
        (0, True, []),
        (2, True, ["a run ended 2 s after one of its ranks, more than 1"]),
        (0, False, ["a run with a killed rank is not retried: rank 1 was killed"]),
    ],
)
def test_a_run_must_end_soon_after_a_rank_was_killed_and_be_retried(after_s, retryable, problems, monkeypatch):
    monkeypatch.setattr(faults, "_LONGEST_END_S", 1.0)
    code = _RANKS.replace("AFTER_S", str(after_s)).replace("RETRYABLE", str(retryable))
    result = faults.check_ranks((sys.executable, "-c", code), timeout_s=60)
    assert list(result.problems) == problems
    assert result.status == (Status.PROBLEM if problems else Status.PASSED)
    assert result.tables[0].rows[0]["epochs"] == 3


def test_a_trainer_without_ranks_does_not_pass_the_check_of_ranks(trainer):
    result = faults.check_ranks(trainer, timeout_s=60)
    assert (result.status, result.problems) == (
        Status.UNFINISHED,
        ("ranks on cuda:0, cuda:1: no rank was found to kill",),
    )


def test_training_that_does_not_end_is_abandoned_after_its_time_limit(trainer):
    began_s = time.monotonic()
    result = faults.check_resume((*trainer, "--epoch-seconds", "30"), "cpu", timeout_s=2)
    assert (result.status, result.problems) == (Status.UNFINISHED, ("resume on cpu: it did not end in time",))
    assert time.monotonic() - began_s < 15


# The session


def a_session(trainer, folder, findings=None, **options):
    heard = []
    found = session.run(
        findings or Findings(facts={"torch": "2", "studies in": "/secret"}, problems=()),
        trainer,
        folder,
        **{"on_cpu": True, "limit_s": 300.0, "only": TWO, **options},
        on_begin=lambda name, device: None,
        on_result=heard.append,
    )
    return found, heard


def test_the_report_is_complete_after_each_check(trainer, tmp_path):
    seen = []
    session.run(
        Findings(facts={"torch": "2"}, problems=("no gcc",)),
        trainer,
        tmp_path / "out",
        on_cpu=True,
        limit_s=300.0,
        only=TWO,
        on_begin=lambda name, device: seen.append(
            len(json.loads((tmp_path / "out" / report.JSON).read_text())["checks"])
        ),
        on_result=lambda result: None,
    )
    assert seen == [0, 1]
    written = json.loads((tmp_path / "out" / report.JSON).read_text())
    assert (written["version"], written["facts"], written["problems"]) == (1, {"torch": "2"}, ["no gcc"])
    assert [check["status"] for check in written["checks"]] == ["passed", "passed"]
    page = (tmp_path / "out" / report.MARKDOWN).read_text()
    assert "- **Problem:** no gcc" in page
    assert "| device | small | step ms | output error |" in page
    assert "| cpu | yes | 12.3 | 1.5e-07 |" in page


def test_a_report_does_not_name_folders_of_the_user(trainer, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/alice")
    findings = Findings(facts={"tune on path": "/home/alice/bin/tune", "python": "3"}, problems=("/home/alice/x",))
    a_session(trainer, tmp_path, findings)
    for name in (report.JSON, report.MARKDOWN):
        text = (tmp_path / name).read_text()
        assert "alice" not in text
        assert "~/x" in text


def test_in_a_container_whose_home_is_the_root_paths_stay(trainer, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    a_session(trainer, tmp_path, Findings(facts={}, problems=("/opt/x is missing",)))
    assert "- **Problem:** /opt/x is missing" in (tmp_path / report.MARKDOWN).read_text()


def test_without_a_gpu_the_checks_of_gpus_are_refused_with_the_remedy(trainer, tmp_path):
    with pytest.raises(
        MachineError, match=r"there is none .*; to try the checks in a small form on the CPU, use --cpu"
    ):
        a_session(trainer, tmp_path, on_cpu=False)


def test_an_unknown_check_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"--only must be one of scan-tuning, .*search, but got speed\."):
        checks.named(["memory", "speed"])
    assert checks.named(["memory"]) == ("memory",)
    assert checks.named([]) == checks.NAMES


def test_an_unwritable_folder_is_refused_before_any_check(trainer, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="choose another with --out"):
        a_session(trainer, tmp_path / "file")


# A search


def test_a_search_continues_after_one_of_its_trainers_was_killed(trainer, tmp_path):
    result = checks.search.check(trainer, "cpu", is_small=True, timeout_s=120)
    assert result.status == Status.PASSED, result
    (row,) = result.tables[0].rows
    assert (row["trials"], row["failed"], row["killed"], row["retried"]) == (3, 0, True, 1)


def test_a_search_that_fails_is_shown_with_its_last_lines(tmp_path):
    failing = (sys.executable, str(SCRIPTED_TRAINER), "--prepare-fails", "the data are gone")
    result = checks.search.check(failing, "cpu", is_small=True, timeout_s=120)
    assert result.status == Status.UNFINISHED
    assert "it ended with exit code" in result.problems[0]
    assert "the data are gone" in result.log
    assert shlex.join(failing) not in result.problems[0]
