"""Hooks of whole runs: they are called at every end, after the study is written and released, and leak no secret."""

import json
import secrets
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support.arena import assert_orderly_end
from tests.support.leaks import leaks
from tuner.study import StoredStudy


@pytest.fixture
def webhook():
    """Yield a server that keeps what is posted to it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.received = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


# Another driver may take over the study: its states are written, and lock and lease are released.
LOOK = (
    f"{sys.executable} -c 'import os; from pathlib import Path; "
    "from tuner.storage.lease import folder_lock, holder_of; from tuner.study import StoredStudy; "
    'f = Path(os.environ["TUNE_FOLDER"]); s = StoredStudy.in_folder(f); '
    'lock = folder_lock(f / "driver.lock"); lock.__enter__(); '
    'print("seen", os.environ["TUNE_OUTCOME"], sum(t.state.name == "RUNNING" for t in s.trials()), '
    "holder_of(s.url, s.name)); lock.__exit__(None, None, None)'"
)


@pytest.mark.slow
def test_a_finished_run_calls_its_hooks_after_releasing_the_study(arena, webhook):
    more = ["--trials", "3", "--on-end", LOOK, "--notify", f"http://127.0.0.1:{webhook.server_port}/hook"]
    code, output = arena.run(promote=True, more=more)
    assert_orderly_end(code, output, 0)
    assert output.splitlines()[-1] == "seen done 0 None"
    (facts,) = webhook.received
    assert (facts["outcome"], facts["exit_code"], facts["study"]) == ("done", 0, "s")
    assert facts["folder"] == str(arena.study_folder)
    assert facts["params"] == str(arena.study_folder / "params.yaml")
    assert facts["weights"].startswith(f"{arena.study_folder}/promoted/")
    assert facts["report"] == str(arena.study_folder / "report.html")
    assert f"    report      {facts['report']}\n" in output
    assert json.loads((arena.study_folder / "card.json").read_text())["measured"]["latencies"]
    command = StoredStudy.in_folder(arena.study_folder).command
    assert command[0] == "run"
    assert not {"--on-end", "--notify"} & set(command)
    assert f"\n{facts['verdict']}\n" in output


def test_a_run_that_a_signal_stops_calls_its_hooks_and_keeps_its_exit_code(arena, webhook):
    url = f"http://127.0.0.1:{webhook.server_port}/hook"
    process = arena.start(epoch_seconds=0.15, more=["--on-end", f"{LOOK}; exit 9", "--notify", url])
    arena.wait_for(lambda: len(arena.events("epoch")) >= 4)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 143)
    assert "warning: the command of --on-end ended with exit code 9: seen stopped 0 None" in output
    (facts,) = webhook.received
    assert facts["message"] == "stopped by SIGTERM; run the same command to resume"
    assert "The run ended early: stopped by SIGTERM" in Path(facts["report"]).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_run_that_a_failure_policy_ends_calls_its_hooks(arena, webhook):
    arena.fault("any-1-error!")
    url = f"http://127.0.0.1:{webhook.server_port}/hook"
    code, output = arena.run(more=["--notify", url])
    (facts,) = webhook.received
    assert (facts["outcome"], facts["exit_code"]) == ("failed", code)
    assert code in (6, 7)
    assert facts["message"] == output.strip().splitlines()[-1]


@pytest.mark.slow
def test_the_url_of_a_webhook_is_in_no_file_and_on_no_command_line(arena):
    canary = secrets.token_hex(8)
    hooks = ["--notify", f"http://127.0.0.1:1/{canary}", f"--on-end=true http://127.0.0.1:1/{canary}"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tuner", "run", *arena.run_arguments(epoch_seconds=0.2), *hooks],
        cwd=arena.folder,
        env=arena.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    arena.wait_for(lambda: len(arena.events("epoch")) >= 2)
    found = leaks(canary, [arena.folder], [p.pid for p in arena.processes()])
    assert [line for line in found if not line.startswith(f"environ of process {process.pid} ")] == []
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "warning: http://127.0.0.1:1/*** was not notified: Connection refused" in output
    (arena.folder / "told").write_text(output)
    assert leaks(canary, [arena.folder], []) == []
