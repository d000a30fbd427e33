"""Follow a study while it is driven. A tracker that fails costs a warning, never the run."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.tracker_files import of_tensorboard
from tests.tuner.conftest import play
from tests.tuner.trackers.conftest import RUN
from tuner.exceptions import FailurePolicyError
from tuner.study import StudyPaths
from tuner.system.signals import Interrupted
from tuner.trackers.process import TrackerProcess
from tuner.trackers.tracking import Pace, subject_of, tracked

QUICK = Pace(look_s=0.1, answer_s=20.0, retry_s=0.2, close_s=20.0)


def wait_for(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.02)


def senders():
    """Return the processes of trackers that this process has started."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it is a zombie, or has ended
            if "tuner.trackers.sender" in child.cmdline():
                found.append(child)
    return found


def test_without_trackers_nothing_is_started_and_nothing_is_written(study, paths):
    said = []
    with tracked((), paths, said.append) as tracking:
        tracking.follow(study)
        assert senders() == []
    assert said == []
    assert not paths.tracking_id.exists()


def test_a_study_is_logged_while_it_is_driven(study, search, winner, paths):
    said = []
    with tracked(("tensorboard",), paths, said.append, QUICK) as tracking:
        tracking.follow(study)
        wait_for(lambda: (paths.tensorboard / "trial-0001").exists())
        assert of_tensorboard(paths.tensorboard)["study"].state == ""
        play(search, search.suggest(), 0.2, 0.4)
        wait_for(lambda: (paths.tensorboard / "trial-0002").exists())
    assert said == [f"log    tensorboard: event files in {paths.tensorboard}"]
    logged = of_tensorboard(paths.tensorboard)
    assert logged["trial-0002"].points["mAP50-95"] == [(3, pytest.approx(0.2)), (9, pytest.approx(0.4))]
    assert logged["study"].state == "COMPLETE"
    assert senders() == []


def log_a_run_that_ends(study, paths, error):
    with tracked(("tensorboard",), paths, print, QUICK) as tracking:
        tracking.follow(study)
        raise error


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (FailurePolicyError("nothing learnt at http://u:pw@h/x"), "FAIL: nothing learnt at http://h/***"),
        pytest.param(
            Interrupted(signal.SIGTERM),
            "WAITING: stopped by SIGTERM; run the same command to resume",
            marks=pytest.mark.slow,
        ),
        pytest.param(RuntimeError("odd"), "FAIL: internal error: RuntimeError", marks=pytest.mark.slow),
    ],
)
def test_the_end_of_a_run_is_the_state_of_the_study(study, paths, error, state):
    with pytest.raises(type(error)):
        log_a_run_that_ends(study, paths, error)
    assert of_tensorboard(paths.tensorboard)["study"].summary["state"] == state


def test_a_study_keeps_its_random_name(paths, tmp_path):
    first = subject_of("s", paths)
    assert subject_of("s", paths) == first
    other = StudyPaths.of(tmp_path / "other", "s")
    other.create()
    assert subject_of("s", other).study_id != first.study_id


def test_a_process_that_is_killed_costs_one_warning_and_no_point(study, search, winner, paths):
    said = []
    with tracked(("tensorboard",), paths, said.append, QUICK) as tracking:
        tracking.follow(study)
        wait_for(lambda: (paths.tensorboard / "trial-0001").exists())
        (sender,) = senders()
        sender.kill()
        play(search, search.suggest(), 0.2, 0.4)
        wait_for(lambda: (paths.tensorboard / "trial-0002").exists())
        wait_for(lambda: said[-1] == "tensorboard logs again")
    assert said[1:] == [
        "warning: tensorboard does not log: its process was killed by SIGKILL; the run continues, and what is missing "
        "is logged as soon as possible",
        "tensorboard logs again",
    ]
    logged = of_tensorboard(paths.tensorboard)
    assert [step for step, _ in logged["trial-0001"].points["mAP50-95"]] == [3, 9]
    assert logged["study"].state == "COMPLETE"


def test_a_folder_that_cannot_be_written_costs_one_warning(study, paths):
    paths.tensorboard.write_text("a file where a folder should be")
    said = []
    with tracked(("tensorboard",), paths, said.append, QUICK) as tracking:
        tracking.follow(study)
        wait_for(lambda: len(said) > 1)
    assert len(said) == 2, said
    assert "tensorboard does not log: NotADirectoryError" in said[1]


def test_a_server_that_is_away_costs_one_warning_without_its_password(study, winner, paths, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:s3cret@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said = []
    with tracked(("mlflow",), paths, said.append, QUICK) as tracking:
        tracking.follow(study)
        wait_for(lambda: len(said) > 1)
    assert said[0] == "log    mlflow: experiment s at http://127.0.0.1:1/***"
    assert len(said) == 2
    assert said[1].startswith("warning: mlflow does not log: MlflowException: API request to http://127.0.0.1:1/***")
    assert "s3cret" not in said[1]


def test_a_server_that_never_answers_delays_the_end_no_longer_than_its_limit(
    study, winner, paths, monkeypatch, silent_port
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent_port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")
    said = []
    with tracked(("mlflow",), paths, said.append, Pace(close_s=1.0)) as tracking:
        tracking.follow(study)
        wait_for(lambda: senders())
        ended_s = time.monotonic()
    assert time.monotonic() - ended_s < 3.0
    assert said[1:] == [
        "warning: mlflow did not take everything within 1 s; run the same command again to log what is missing"
    ]
    assert senders() == []


def test_a_tracker_that_does_not_answer_in_time_is_replaced(study, winner, paths, monkeypatch, silent_port):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent_port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")
    said = []
    with tracked(("mlflow",), paths, said.append, Pace(answer_s=2.0, close_s=0.5)) as tracking:
        tracking.follow(study)
        wait_for(lambda: len(said) > 1)
        assert "mlflow does not log: no answer within 2 s" in said[1]
        wait_for(lambda: not senders())
    assert len(said) == 2


def test_a_process_without_a_driver_ends_by_itself(subject):
    code = (
        "import os, signal\n"
        "from tuner.trackers.messages import Subject\n"
        "from tuner.trackers.process import TrackerProcess\n"
        "from tests.tuner.trackers.conftest import RUN\n"
        f"process = TrackerProcess('tensorboard', {subject!r}, 20.0)\n"
        "assert process.log(RUN) == ''\n"
        "print(process._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_for(lambda: not psutil.pid_exists(int(done.stdout)), timeout_s=10)


def test_signals_that_a_scheduler_sends_to_all_processes_do_not_end_a_tracker(subject):
    process = TrackerProcess("tensorboard", subject, 20.0)
    assert process.log(RUN) == ""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        os.killpg(process._process.pid, signum)
    assert process.log(RUN) == ""
    assert process.close(10.0) == ""
