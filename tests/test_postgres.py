"""The PostgreSQL server of the tests: it can be broken and repaired, and never outlives its process."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

ROOT = Path(__file__).parents[1]

PROGRAM = """
import sys, time
from tests.support.postgres import PostgresServer
server = PostgresServer()
print(server.pid, server.folder, flush=True)
if "frozen" in sys.argv:
    server.freeze()
print("ready", flush=True)
time.sleep(600)
"""


def test_committed_data_survive_an_immediate_stop(postgres):
    postgres.execute("CREATE TABLE kept AS SELECT 7 AS number")
    postgres.stop_immediately()
    with pytest.raises(psycopg.OperationalError):
        postgres.execute("SELECT 1")
    postgres.start()
    assert postgres.execute("SELECT number FROM kept") == [(7,)]


@pytest.mark.parametrize("backends", [False, True])
def test_a_frozen_server_answers_no_client_until_it_is_thawed(postgres, backends):
    postgres.freeze(backends=backends)
    try:
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(f"{postgres.url()}?connect_timeout=2")
    finally:
        postgres.thaw()
    assert postgres.execute("SELECT 1") == [(1,)]


def test_a_wrong_password_is_refused(postgres):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url(password="guessed"))


@pytest.mark.parametrize("state", ["", "frozen"])
def test_a_server_whose_process_was_killed_leaves_nothing_behind(postgres, state):
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, state], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid, folder = program.stdout.readline().split()
    assert program.stdout.readline() == "ready\n"
    program.send_signal(signal.SIGKILL)
    program.communicate()
    deadline = time.monotonic() + 20
    while (psutil.pid_exists(int(pid)) or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (psutil.pid_exists(int(pid)), Path(folder).exists()) == (False, False)
