"""Hooks at the end of a run: they receive its facts, and a bad one costs only a warning."""

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.tuner.conftest import driven, play
from tuner.exceptions import FailurePolicyError
from tuner.search.search import Search
from tuner.study import FinalRunFacts
from tuner.system.signals import Interrupted
from tuner.workflows.hooks import EndFacts, Hooks, reported_end

VARIABLES = {
    *("TUNE_OUTCOME", "TUNE_EXIT_CODE", "TUNE_STUDY", "TUNE_FOLDER", "TUNE_VERDICT", "TUNE_BEST", "TUNE_PARAMS"),
    *("TUNE_WEIGHTS", "TUNE_REPORT", "TUNE_MESSAGE"),
}


class Receiver(BaseHTTPRequestHandler):
    """Webhook that keeps its requests, and answers as the path says."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, dict(self.headers), body))
        if self.path.startswith("/hang"):
            self.server.released.wait(20)
        self.send_response(500 if self.path.startswith("/broken") else 302 if self.path.startswith("/moved") else 200)
        if self.path.startswith("/moved"):
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    server.received, server.released = [], threading.Event()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def base(server):
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def said():
    return []


def ended(hooks, said, error=None, study=None, paths=None):
    """End a run, with the error if there is one."""
    with reported_end(hooks, said.append) as end:
        if paths is not None:
            end.concerns("s", paths)
        if study is not None:
            end.reads(study)
        if error is not None:
            raise error


def variables_in(path):
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line.split("=", 1)[0] in VARIABLES)


# Facts for hooks


def test_a_command_gets_the_facts_of_a_run_that_is_done(tmp_path, said, study, winner, paths):
    paths.params.write_text("lr0: 0.1\n")
    facts = FinalRunFacts(trial=1, epochs=20, directory="/d", state="COMPLETE", metrics={}, checkpoint="/d/best.pt")
    study.record_final_run(facts)
    ended(Hooks(on_end=f"env > {tmp_path}/out"), said, study=study, paths=paths)
    assert variables_in(tmp_path / "out") == {
        "TUNE_OUTCOME": "done",
        "TUNE_EXIT_CODE": "0",
        "TUNE_STUDY": "s",
        "TUNE_FOLDER": str(paths.root),
        "TUNE_VERDICT": winner.said(),
        "TUNE_BEST": "0.3",
        "TUNE_PARAMS": str(paths.params),
        "TUNE_WEIGHTS": "/d/best.pt",
        "TUNE_REPORT": str(paths.report),
        "TUNE_MESSAGE": "",
    }
    assert said == [f"report {paths.report}"]


def test_a_webhook_gets_the_same_facts_as_json(server, base, said, study, winner, paths):
    ended(Hooks(notify=(f"{base}/hook",)), said, study=study, paths=paths)
    ((path, headers, body),) = server.received
    assert (path, headers["Content-Type"]) == ("/hook", "application/json")
    assert json.loads(body) == {
        "version": 1,
        "text": f"s: done. {winner.said()}",
        "outcome": "done",
        "exit_code": 0,
        "study": "s",
        "folder": str(paths.root),
        "verdict": winner.said(),
        "best": 0.3,
        "params": "",
        "weights": "",
        "report": str(paths.report),
        "message": "",
    }


def test_the_weights_of_another_trial_are_not_the_winners(tmp_path, said, study, winner, paths):
    study.record_final_run(FinalRunFacts(trial=0, epochs=20, directory="/d", state="COMPLETE", checkpoint="/d/best.pt"))
    ended(Hooks(on_end=f"env > {tmp_path}/out"), said, study=study, paths=paths)
    assert variables_in(tmp_path / "out")["TUNE_WEIGHTS"] == ""


@pytest.mark.parametrize(
    ("error", "outcome", "code", "message"),
    [
        (FailurePolicyError("three trials failed"), "failed", 7, "three trials failed"),
        (Interrupted(signal.SIGTERM), "stopped", 143, "stopped by SIGTERM; run the same command to resume"),
        (Interrupted(signal.SIGUSR1), "preempted", 75, "stopped by SIGUSR1; run the same command to resume"),
        (KeyboardInterrupt(), "stopped", 130, "stopped by SIGINT"),
        (RuntimeError("odd"), "failed", 1, "internal error: RuntimeError: odd"),
    ],
)
def test_an_unfinished_run_is_reported_and_its_error_stays(tmp_path, said, error, outcome, code, message):
    with pytest.raises(type(error)):
        ended(Hooks(on_end=f"env > {tmp_path}/out"), said, error)
    found = variables_in(tmp_path / "out")
    assert (found["TUNE_OUTCOME"], found["TUNE_EXIT_CODE"], found["TUNE_MESSAGE"]) == (outcome, str(code), message)


def test_a_study_without_a_complete_trial_has_no_verdict(tmp_path, said, study, search, paths):
    search.suggest()
    ended(Hooks(on_end=f"env > {tmp_path}/out"), said, study=study, paths=paths)
    found = variables_in(tmp_path / "out")
    assert (found["TUNE_VERDICT"], found["TUNE_BEST"], found["TUNE_FOLDER"]) == ("", "", str(paths.root))


def test_a_study_that_is_closed_can_still_be_reported(tmp_path, said, url, spec, space, paths, terms):
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        play(search, search.suggest(), 0.5, 0.25)
    paths.database.unlink()
    ended(Hooks(on_end=f"env > {tmp_path}/out"), said, study=study, paths=paths)
    assert variables_in(tmp_path / "out")["TUNE_BEST"] == "0.25"


@pytest.mark.parametrize(
    "text", ["$(touch owned); `touch owned`", "a\nTUNE_OUTCOME=done", "nul\0 \x1b[2J \udcff", "x" * 10**6]
)
def test_hostile_text_is_one_value_on_one_line_and_is_never_executed(tmp_path, said, text, monkeypatch, server, base):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FailurePolicyError):
        ended(Hooks(on_end="env > out; echo $TUNE_MESSAGE > /dev/null", notify=(base,)), said, FailurePolicyError(text))
    found = variables_in(tmp_path / "out")
    assert found["TUNE_OUTCOME"] == "failed"
    assert found["TUNE_MESSAGE"].isprintable()
    assert not (tmp_path / "owned").exists()
    assert json.loads(server.received[0][2])["outcome"] == "failed"
    assert said == []


def test_the_names_of_the_variables_are_the_documented_ones():
    assert set(EndFacts(outcome="done", exit_code=0).variables()) == VARIABLES


# A failure costs a warning


def test_the_output_of_a_command_is_shown_without_urls(said):
    ended(Hooks(on_end="echo one; echo posted to https://example.org/T0K3N >&2"), said)
    assert said == ["one", "posted to https://example.org/***"]


def test_a_command_that_fails_costs_one_warning(said):
    ended(Hooks(on_end="echo first; echo no such host https://u:pw@h/T0K3N; exit 3"), said)
    assert said == ["warning: the command of --on-end ended with exit code 3: no such host https://h/***"]


def test_a_command_that_is_killed_costs_one_warning(said):
    ended(Hooks(on_end="kill -9 $$"), said)
    assert said == ["warning: the command of --on-end was killed by SIGKILL"]


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path, said):
    began = time.monotonic()
    ended(Hooks(on_end=f"(sleep 3; touch {tmp_path}/late) & sleep 30; true", timeout_s=0.3), said)
    assert time.monotonic() - began < 3
    assert said == ["warning: the command of --on-end was killed: it took longer than 0.3 s"]
    time.sleep(3)
    assert not (tmp_path / "late").exists()


def test_a_child_in_the_background_is_not_waited_for(said):
    began = time.monotonic()
    ended(Hooks(on_end="sleep 5 & echo started"), said)
    assert time.monotonic() - began < 4
    assert said == ["started"]


def test_a_webhook_that_hangs_costs_its_time_and_one_warning(base, said):
    began = time.monotonic()
    ended(Hooks(notify=(f"{base}/hang/T0K3N",), timeout_s=0.3), said)
    assert time.monotonic() - began < 5
    assert said == [f"warning: {base}/*** was not notified: no answer within 0.3 s"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [("/broken/T0K3N", "it answered with status 500"), ("/moved/T0K3N", "it answered with status 302")],
)
def test_a_webhook_that_refuses_costs_one_warning_without_its_secret(server, base, said, path, problem):
    ended(Hooks(notify=(f"{base}{path}?key=T0K3N", f"{base}/fine")), said)
    assert said == [f"warning: {base}/*** was not notified: {problem}"]
    assert sorted(path for path, _, _ in server.received) == sorted(["/fine", f"{path}?key=T0K3N"])


def test_a_server_that_is_away_costs_one_warning_and_the_command_still_runs(said):
    ended(Hooks(on_end="echo ran", notify=("http://127.0.0.1:1/T0K3N",)), said)
    assert said == ["ran", "warning: http://127.0.0.1:1/*** was not notified: Connection refused"]


def test_a_signal_cancels_the_hooks_and_not_the_result(said):
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    before, began = signal.getsignal(signal.SIGTERM), time.monotonic()
    ended(Hooks(on_end="sleep 20"), said)
    assert time.monotonic() - began < 10
    assert said == ["warning: the hooks were cancelled by SIGTERM"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_without_hooks_nothing_is_called(said):
    with reported_end(Hooks(), said.append) as end:
        end.report(0)
    assert said == []


def test_hooks_are_called_once(said):
    with reported_end(Hooks(on_end="echo ended $TUNE_EXIT_CODE"), said.append) as end:
        end.report(5, "Ray does not answer")
    assert said == ["ended 5"]
