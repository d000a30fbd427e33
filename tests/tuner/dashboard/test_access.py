"""Access to the dashboard, and requests that it never carries out."""

import base64
import json

import pytest

from tests.tuner.dashboard.conftest import ask
from tuner.dashboard.access import protected
from tuner.dashboard.changes import without_changes
from tuner.dashboard.server import application

PASSWORD = "correct horse ü"


def credentials(password, user="anyone"):
    return {"HTTP_AUTHORIZATION": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def unreached(environ, start_response):
    raise AssertionError(environ["PATH_INFO"])


@pytest.fixture
def guarded(catalogue):
    return application(catalogue, PASSWORD, is_read_only=False)


PATHS = [
    "/",
    "/dashboard",
    "/api/studies",
    "/api/meta",
    "/static/bundle.js",
    "/favicon.ico",
    "/artifacts/1/0",
    "/csv/1",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "sent",
    [{}, credentials("wrong"), credentials(""), credentials(PASSWORD + "x"), {"HTTP_AUTHORIZATION": "Basic %%%"},
     {"HTTP_AUTHORIZATION": f"Bearer {PASSWORD}"}, {"HTTP_AUTHORIZATION": "Basic"}],
)  # fmt: skip
def test_without_the_password_nothing_is_answered(path, sent):
    status, headers, content = ask(protected(unreached, PASSWORD), path, **sent)

    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Basic ")
    assert json.loads(content) == {"reason": "A password is required."}


def test_with_the_password_any_user_is_answered_at_any_host(guarded, left):
    sent = {**credentials(PASSWORD), "HTTP_HOST": "dashboard.example.org"}
    assert ask(guarded, "/api/studies", **sent)[0] == 200
    assert ask(guarded, "/dashboard", **sent)[0] == 200


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:9"])
def test_without_a_password_this_machine_is_answered(app, left, host):
    assert ask(app, "/api/studies", HTTP_HOST=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example.org", "", "127.0.0.1.example.org", "[", "localhost.evil"])
def test_without_a_password_a_page_of_another_site_is_refused(host):
    assert ask(protected(unreached, None), "/api/studies", HTTP_HOST=host)[0] == 403


CHANGES = [
    ("POST", "/api/studies"), ("DELETE", "/api/studies/1"), ("POST", "/api/studies/1/rename"),
    ("POST", "/api/trials/1/tell"), ("POST", "/api/trials/1/user-attrs"), ("POST", "/api/artifacts/1"),
    ("POST", "/api/artifacts/1/1"), ("DELETE", "/api/artifacts/1/ab"), ("POST", "/api/studies/1/preference"),
    ("PUT", "/api/studies/1/preference_feedback_component"), ("POST", "/incompatible-rdb-schema"),
    ("POST", "/api/studies/1/1/skip"), ("PATCH", "/anything"), ("PUT", "/api/studies/1/note/x"),
]  # fmt: skip


@pytest.mark.parametrize("is_read_only", [True, False])
@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_requests_that_would_change_a_study_never_reach_the_application(catalogue, method, path, is_read_only):
    app = without_changes(unreached, catalogue, is_read_only=is_read_only)
    assert ask(protected(app, None), path, method, {"study_name": "x"})[0] == 403


def test_every_route_that_changes_something_is_tested(catalogue):
    """Compare with the installed dashboard: a newer one may have more routes."""
    from optuna_dashboard import wsgi

    from tuner.dashboard.view_storage import ViewStorage

    changing = {(route.method, route.rule) for route in wsgi(ViewStorage(catalogue)).routes}
    changing = {(method, rule) for method, rule in changing if method not in {"GET", "HEAD"} and "llm" not in rule}
    assert len(changing) == 17


def test_a_client_that_sends_no_list_of_encodings_gets_the_page(app, left):
    assert ask(app, "/static/bundle.js")[0] == 200
    assert ask(app, "/favicon.ico")[0] == 200


def test_behind_a_tls_proxy_addresses_are_those_of_the_proxy(guarded, left):
    sent = {**credentials(PASSWORD), "HTTP_HOST": "dashboard.example.org", "HTTP_X_FORWARDED_PROTO": "https"}
    status, headers, _ = ask(guarded, "/", **sent)
    assert (status, headers["Location"]) == (302, "https://dashboard.example.org/dashboard")
