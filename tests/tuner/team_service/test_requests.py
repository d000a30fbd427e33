"""Refuse requests that are forged, too many, too large or from unknown users."""

import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.team_service import SPACE
from tuner.team_service import connections
from tuner.team_service.guard import local_path
from tuner.team_service.limits import MOST_BODY_BYTES, MOST_SPACE_BODY_BYTES, RateLimit, network_of


def csrf_of(client, page="/"):
    return client.get(page).text.partition('name="csrf" value="')[2].partition('"')[0]


def test_a_login_sets_a_cookie_that_scripts_and_other_sites_cannot_use(team):
    with team.client() as client:
        answer = client.post("/login", data={"token": team.tokens["bob"], "next": "/submit"})
    assert answer.headers["location"] == "/submit"
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/"))
    assert team.tokens["bob"] not in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("text", "path"),
    [("/studies/a", "/studies/a"), ("//evil.example", "/"), ("/\\evil", "/"), ("https://evil", "/"), ("/a\nb", "/"),
     ("javascript:alert(1)", "/"), ("", "/"), ("/a b", "/")],
)  # fmt: skip
def test_after_the_login_only_pages_of_the_service_are_opened(text, path):
    assert local_path(text) == path


def test_a_session_ends_with_the_logout(team):
    with team.browser("bob") as browser:
        cookies = dict(browser.cookies)
        answer = browser.post("/logout", data={"csrf": csrf_of(browser)})
        assert answer.status_code == 303
    with httpx.Client(base_url=team.url, cookies=cookies) as again:
        assert again.get("/api/v1/me").status_code == 401


CHANGES = [
    ("/studies/{name}/stop", {"data": {}}),
    ("/submit", {"data": {"study": "forged", "space": SPACE, "data": "sample"}}),
    ("/logout", {"data": {}}),
    ("/api/v1/studies/{name}/stop", {"json": {}}),
    ("/api/v1/studies", {"json": {"study": "forged", "space": SPACE, "data": "sample"}}),
    ("/api/v1/spaces/check", {"json": {"space": SPACE}}),
]


@pytest.mark.parametrize(("path", "content"), CHANGES, ids=[path for path, _ in CHANGES])
@pytest.mark.parametrize("key", ["", "0" * 64])
def test_a_request_with_a_cookie_but_without_the_key_of_its_session_changes_nothing(empty_team, path, content, key):
    empty_team.submitted("mine", "bob")
    with empty_team.browser("bob") as browser:
        sent = {**content, "data": {**content["data"], "csrf": key}} if "data" in content else content
        answer = browser.post(path.format(name="mine"), headers={"X-CSRF-Token": key}, **sent)
        assert answer.status_code == 403
        assert browser.get("/api/v1/me").status_code == 200
    assert [entry.submission.study for entry in empty_team.table.entries()] == ["mine"]
    assert not empty_team.table.entries()[0].is_stopping


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
                {"Origin": "null"}],
)  # fmt: skip
def test_a_page_of_another_site_can_neither_change_anything_nor_log_anybody_in(team, headers):
    with team.browser("bob") as browser:
        key = csrf_of(browser)
        assert browser.post("/logout", data={"csrf": key}, headers=headers).status_code == 403
    with team.client() as client:
        assert client.post("/login", data={"token": team.tokens["bob"]}, headers=headers).status_code == 403


def test_wrong_tokens_from_one_address_are_slowed_down_before_they_are_looked_up(empty_team):
    with empty_team.client() as client:
        codes = [client.get("/api/v1/me", headers={"Authorization": "Bearer x"}).status_code for _ in range(15)]
        login = client.post("/login", data={"token": empty_team.tokens["ann"]})
    assert codes == [401] * 10 + [429] * 5
    assert login.status_code == 429, "a right one, too, or guesses would continue"
    assert int(login.headers.get("retry-after", 7)) >= 1
    assert "wrong token" in empty_team.audit()


def test_requests_of_a_token_are_rate_limited(empty_team):
    empty_team.service.guard._requests = RateLimit(burst=20, per_s=0.01)
    with empty_team.client("eve") as eve, empty_team.client("bob") as bob:
        assert [eve.get("/api/v1/me").status_code for _ in range(22)] == [200] * 20 + [429] * 2
        assert bob.get("/api/v1/me").status_code == 200, "others are not slowed down"


def test_a_bucket_fills_again_at_its_rate():
    now = [0.0]
    limit = RateLimit(burst=2, per_s=0.5, clock=lambda: now[0])
    assert [limit.take("a") for _ in range(3)] == [True, True, False]
    assert limit.wait_s("a") == 2
    now[0] = 2.0
    assert [limit.take("a"), limit.take("a"), limit.take("b")] == [True, False, True]


def test_buckets_of_many_addresses_do_not_fill_the_memory():
    limit = RateLimit(burst=1, per_s=1)
    for number in range(20_000):
        limit.take(str(number))
    assert len(limit._buckets) == 10_000


def test_one_ipv6_subscriber_counts_as_one_sender():
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("10.0.0.1") != network_of("10.0.0.2")
    assert network_of("not an address") == "unknown"


@pytest.mark.parametrize(
    ("path", "most"), [("/api/v1/studies", MOST_SPACE_BODY_BYTES), ("/submit", MOST_SPACE_BODY_BYTES),
                       ("/login", MOST_BODY_BYTES), ("/studies/bobs/stop", MOST_BODY_BYTES)],
)  # fmt: skip
def test_a_body_that_is_too_large_is_refused_with_and_without_its_length(team, path, most):
    with team.client("bob") as client:
        assert client.post(path, content=b"x" * (most + 1)).status_code == 413
        chunks = (b"x" * 1024 for _ in range(most // 1024 + 2))
        assert client.post(path, content=chunks).status_code == 413


@pytest.mark.parametrize("length", ["-1", "x", "99999999999999999999", "1e3"])
def test_an_invalid_length_is_refused(team, length):
    place = urlsplit(team.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as sent:
        sent.sendall(f"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        assert sent.recv(100).split()[1] in (b"400", b"413")


@pytest.mark.parametrize("head", [b"", b"GET /login HTTP/1.1\r\nX: ", b"GET /login HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_connection_that_sends_no_further_request_is_closed(empty_team, monkeypatch, head):
    monkeypatch.setattr(connections, "IDLE_S", 0.2)
    with socket.create_connection(urlsplit(empty_team.url).netloc.split(":"), timeout=30) as sent:
        sent.sendall(head)
        received = list(iter(lambda: sent.recv(65536), b""))  # a connection that stays open ends in a timeout
    assert bool(received) == head.endswith(b"\r\n\r\n"), "only a whole request has an answer"


def test_a_connection_with_a_request_in_progress_stays_open(empty_team, monkeypatch):
    monkeypatch.setattr(connections, "IDLE_S", 0.2)
    empty_team.submitted("mine", "bob")
    with empty_team.client("bob") as client, client.stream("GET", "/api/v1/studies/mine/events") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry:")
        time.sleep(1.0)
        empty_team.table.stop("mine")
        assert "event: end" in list(lines)


def test_checks_of_spaces_have_their_own_rate_limit(empty_team):
    empty_team.service.guard._checks = RateLimit(burst=1, per_s=0.001)
    with empty_team.client("bob") as client:
        wish = {"space": SPACE, "data": "sample"}
        assert [client.post("/api/v1/spaces/check", json=wish).status_code for _ in range(2)] == [200, 429]
        assert client.post("/api/v1/studies", json={**wish, "study": "x"}).status_code == 429


def test_no_answer_can_be_framed_sniffed_kept_or_run_scripts_of_others(team):
    with team.client("ann") as client:
        for path in ("/", "/login", "/submit", "/studies/bobs", "/compare", "/nothing", "/api/v1/me", "/healthz"):
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert "unsafe-inline" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
            assert "x-powered-by" not in headers


def test_a_report_has_no_origin_so_its_scripts_reach_nothing(team):
    with team.client("eve") as client:
        for path in ("/api/v1/studies/bobs/report", "/compare/report?study=bobs&study=cats"):
            policy = client.get(path).headers["content-security-policy"]
            assert policy.startswith("sandbox allow-scripts;")
            assert "connect-src" not in policy
            assert "default-src 'none'" in policy
            assert "allow-same-origin" not in policy


def test_the_audit_log_says_who_did_what_from_where_and_has_no_secret(empty_team):
    with empty_team.browser("bob") as browser:
        key = {"X-CSRF-Token": csrf_of(browser)}
        body = {"study": "mine", "space": SPACE, "data": "sample"}
        assert browser.post("/api/v1/studies", json=body, headers=key).status_code == 201
        browser.post("/api/v1/studies/mine/stop", headers=key)
        cookie = next(iter(browser.cookies.values()))
    with empty_team.client("eve") as eve:
        eve.post("/api/v1/studies", json=body)
    lines = [json.loads(line) for line in empty_team.audit().splitlines()]
    told = [(line["who"], line["did"], line["study"], line["outcome"]) for line in lines]
    assert told == [
        ("bob", "log in", "", "done"),
        ("bob", "submit", "mine", "done"),
        ("bob", "stop", "mine", "done"),
        ("eve", "submit", "mine", "refused: role or owner"),
    ]
    assert {line["from"] for line in lines} == {"127.0.0.1"}
    text = empty_team.audit()
    assert not any(secret in text for secret in (*empty_team.tokens.values(), cookie, "optimizer"))
    assert (empty_team.service.settings.folder / "audit.jsonl").stat().st_mode & 0o077 == 0


def test_the_audit_log_is_rotated(empty_team):
    audit = empty_team.service.audit
    audit._file.maxBytes = 1000
    for _ in range(30):
        audit.note(did="x" * 500, who="bob", role="read", address="::1")
    names = sorted(path.name for path in empty_team.service.settings.folder.iterdir())
    assert names == ["audit.jsonl", *(f"audit.jsonl.{number}" for number in range(1, 6))]


def test_a_revoked_token_ends_its_stream_and_its_session_at_once(empty_team):
    empty_team.submitted("mine", "bob")
    with empty_team.browser("bob") as browser, browser.stream("GET", "/api/v1/studies/mine/events") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry:")
        empty_team.accounts.tokens.revoke("bob")
        began = time.monotonic()
        list(lines)  # until it ends
        assert time.monotonic() - began < 30
        assert browser.get("/api/v1/me").status_code == 401
