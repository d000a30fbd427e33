"""Run `tune serve`: start and end it, take away its database, and put it behind a proxy."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from tests.support.fresh_process import loaded_below, modules_loaded_by
from tests.support.team_service import SPACE, TIMEOUT_S, recorded_study, running_team
from tuner.team_service import studies

TUNE = [sys.executable, "-m", "tuner"]


def ran(*arguments, **environment):
    done = subprocess.run(
        [*TUNE, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def serving(home, *arguments, **environment):
    """Run `tune serve` on a free port. Yield the process and its URL."""
    process = subprocess.Popen(
        [*TUNE, "serve", "--port=0", "--home", str(home), "--cluster=http://127.0.0.1:1", *arguments],
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line.startswith("http://"), line + process.stdout.read()
        yield process, line.split()[0].rstrip("/")
    finally:
        process.kill()
        process.wait()


def token_of(home, name="ann", role="admin", **environment):
    code, token, said = ran("token", "add", name, "--role", role, "--home", home, **environment)
    assert (code, said) == (0, f"Give it to {name} in private; only its hash is kept.\n")
    return token.strip()


def test_tokens_are_added_listed_and_revoked_on_the_command_line(tmp_path):
    token = token_of(tmp_path, "bob", "submit")
    assert re.fullmatch(r"tune_[0-9a-f]{16}_[\w-]{43}", token)
    code, listed, _ = ran("token", "list", "--home", tmp_path)
    assert code == 0
    assert listed.splitlines()[1].split()[:3] == ["bob", "submit", "valid"]
    assert token.rpartition("_")[2] not in listed
    assert ran("token", "revoke", "bob", "--home", tmp_path)[0] == 0
    code, _, said = ran("token", "revoke", "bob", "--home", tmp_path)
    assert (code, said) == (2, "There is no token of 'bob' to revoke; `tune token list` lists them.\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--host=0.0.0.0"], 2, "lets other machines in, which needs a token, but there is none; `tune token add"),
        (["--data-root=/"], 2, "--data-root must not be '/'"),
        (["--data-root=/nonexistent"], 2, "--data-root must be a folder"),
        (["--host=nowhere.invalid"], 2, "needs a token"),
        (["--storage=mysql"], 2, "--storage must be a database URL"),
        (["--storage=postgresql://u:secret@127.0.0.1:1/x"], 8, "start the server"),
    ],
)
def test_a_service_that_cannot_start_says_so_in_one_line(tmp_path, arguments, code, said):
    found, _, text = ran("serve", "--port=0", "--home", tmp_path, *arguments)
    assert (found, text.count("\n")) == (code, 1), text
    assert said in text
    assert "secret" not in text


def test_an_address_in_use_is_reported_in_one_line(tmp_path):
    with serving(tmp_path) as (_, url):
        code, _, said = ran("serve", "--home", tmp_path, "--port", url.rpartition(":")[2])
    assert code == 5
    assert "must be free on this machine" in said


def test_help_imports_no_web_framework():
    loaded = modules_loaded_by("from tuner.cli.main import main; main(['serve', '--help'])")
    assert loaded_below({"fastapi", "uvicorn", "starlette", "sqlalchemy", "jinja2"}, loaded) == set()


def test_without_its_packages_the_service_says_what_to_install(tmp_path):
    program = (
        "import sys; sys.modules['uvicorn'] = None; from tuner.cli.main import main; "
        f"main(['serve', '--port=0', '--home={tmp_path}'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert "pip install 'mamba-yolo-tuner[serve]'" in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_the_service_in_order_with_open_streams(tmp_path, signum):
    token = token_of(tmp_path)
    with serving(tmp_path) as (process, url):
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S) as client:
            body = {"study": "mine", "space": SPACE, "data": "sample"}
            assert client.post("/api/v1/studies", json=body).status_code == 201
            with client.stream("GET", "/api/v1/studies/mine/events") as stream:
                lines = stream.iter_lines()
                assert next(lines).startswith("retry:")
                process.send_signal(signum)
                list(lines)
        assert process.wait(TIMEOUT_S) == 0


@pytest.mark.slow
def test_a_killed_service_loses_nothing_and_the_next_one_keeps_sessions_and_studies(tmp_path):
    token = token_of(tmp_path)
    with serving(tmp_path) as (process, url), httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
        assert client.post("/login", data={"token": token}).status_code == 303
        cookies = dict(client.cookies)
        body = {"study": "mine", "space": SPACE, "data": "sample"}
        headers = {"Authorization": f"Bearer {token}"}
        assert client.post("/api/v1/studies", json=body, headers=headers).status_code == 201
        process.kill()
    with serving(tmp_path) as (_, url), httpx.Client(base_url=url, cookies=cookies, timeout=TIMEOUT_S) as client:
        assert [row["name"] for row in client.get("/api/v1/studies").json()["studies"]] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "is_trusted"),
    [
        (["--proxy=127.0.0.1"], True),
        pytest.param(["--proxy=10.1.2.3"], False, marks=pytest.mark.slow),
        pytest.param([], False, marks=pytest.mark.slow),
    ],
)
def test_only_a_named_proxy_sets_the_client_address_and_requires_tls_for_the_cookie(tmp_path, arguments, is_trusted):
    token = token_of(tmp_path)
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    with serving(tmp_path, *arguments) as (_, url):
        cookie = httpx.post(f"{url}/login", data={"token": token}, headers=headers).headers["set-cookie"]
    assert ("; Secure" in cookie and cookie.startswith("__Host-")) == is_trusted
    last = (tmp_path / ".service" / "audit.jsonl").read_text().splitlines()[-1]
    assert ("203.0.113.7" in last) == is_trusted


def test_the_token_of_ray_and_the_password_of_the_database_stay_in_the_service(tmp_path):
    token = token_of(tmp_path)
    with serving(tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="ray-secret-token") as (process, url):
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S) as client:
            body = {"study": "mine", "space": SPACE, "data": "sample"}
            assert client.post("/api/v1/studies", json=body).status_code == 201
            for path in ("/", "/api/v1/studies", "/api/v1/studies/mine", "/studies/mine", "/submit", "/api/studies",
                         "/api/v1/openapi.json", "/api/v1/me", "/nothing"):  # fmt: skip
                assert "ray-secret" not in client.get(path).text
        said = process.stdout.readline()
    assert "WARNING" in said, "the log of the service says that the cluster does not answer"
    assert "http://127.0.0.1:1" in said
    assert "ray-secret" not in said


@pytest.fixture
def postgres_team(postgres, tmp_path):
    with running_team(tmp_path / "home", storage=postgres.new_database()) as team:
        yield team


def test_a_database_that_is_away_is_reported_and_when_it_is_back_everything_works(postgres, postgres_team):
    postgres_team.submitted("mine", "bob")
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(postgres_team.client("bob"))
        nobody = stack.enter_context(postgres_team.client())
        with client.stream("GET", "/api/v1/studies/mine/events") as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("retry:")
            postgres.stop_immediately()
            try:
                for path in ("/healthz", "/api/v1/studies", "/", "/studies/mine", "/api/v1/me"):
                    answer = client.get(path)
                    assert answer.status_code == 503, path
                    assert int(answer.headers["retry-after"]) >= 1
                    assert "127.0.0.1" not in answer.text, "where the database is concerns nobody"
                assert nobody.get("/login").status_code == 200
            finally:
                postgres.start()
            assert nobody.get("/healthz").status_code == 200
            assert client.get("/api/v1/studies/mine").json()["state"] == "queued"
            assert client.post("/api/v1/studies/mine/stop").status_code == 200
            assert "event: end" in list(lines), "the stream has waited"


@pytest.mark.slow
def test_a_database_that_hangs_makes_the_service_unhealthy_within_seconds(postgres, postgres_team):
    with postgres_team.client() as client:
        assert client.get("/healthz").status_code == 200
        postgres.freeze()
        try:
            began = time.monotonic()
            assert client.get("/healthz").status_code == 503
            assert time.monotonic() - began < 20
        finally:
            postgres.thaw()
        assert client.get("/healthz").status_code == 200


def test_one_damaged_study_hides_no_other(empty_team, template):
    recorded_study(empty_team.home, "fine", template)
    (empty_team.home / "damaged").mkdir()
    (empty_team.home / "damaged" / "study.db").write_bytes(b"no database" * 1000)
    (empty_team.home / "<b>bad name").mkdir()
    (empty_team.home / "<b>bad name" / "study.db").touch()
    with empty_team.client("eve") as client:
        rows = {row["name"]: row for row in client.get("/api/v1/studies").json()["studies"]}
        assert rows["fine"]["progress"]["best"] > 0
        assert rows["damaged"]["state"] == "unreadable"
        assert set(rows) == {"fine", "damaged"}
        assert client.get("/").status_code == 200
        assert client.get("/studies/damaged").status_code == 200


def test_a_list_of_very_many_studies_is_read_in_parts(empty_team, template, monkeypatch):
    monkeypatch.setattr(studies, "_READING_S", 0.0)
    recorded_study(empty_team.home, "first", template)
    empty_team.submitted("second", "bob")
    with empty_team.client("ann") as client:
        states = {row["name"]: row["state"] for row in client.get("/api/v1/studies").json()["studies"]}
        assert states == {"first": "unknown", "second": "queued"}
        assert client.get("/").status_code == 200
        assert client.get("/api/v1/studies/first").json()["state"] == "finished", "one study is always read"
        states = {row["name"]: row["state"] for row in client.get("/api/v1/studies").json()["studies"]}
        assert states == {"first": "finished", "second": "queued"}


def test_many_concurrent_readers_get_the_same_answer(team):
    codes = []

    def look():
        with team.client("eve") as client:
            codes.extend(client.get("/api/v1/studies/bobs").status_code for _ in range(5))

    threads = [threading.Thread(target=look) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert codes == [200] * 50
