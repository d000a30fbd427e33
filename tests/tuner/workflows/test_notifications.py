"""URLs of notifications: accepted ones, and services through apprise."""

import base64
import importlib.util
import json
import time

import pytest

from tests.tuner.workflows.test_hooks import server  # noqa: F401 - a fixture
from tuner.exceptions import MachineError, UsageError
from tuner.workflows.notifications import Delivery, Message, checked_url

MESSAGE = Message(title="tune: s done", facts='{"outcome": "done"}', text="s: done")
HAS_APPRISE = importlib.util.find_spec("apprise") is not None
needs_apprise = pytest.mark.skipif(not HAS_APPRISE, reason="apprise is not installed")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "https://user:pw@example.org", "HTTPS://example.org/ü"])
def test_a_webhook_needs_no_package(url):
    assert checked_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3cret",
        "http://",
        "https:///s3cret",
        "http://h:x/s3cret",
        "http://h/s3 cret",
        "http://[h/s3cret",
        "://s3cret",
    ],
)
def test_text_that_is_not_a_url_is_refused_without_showing_it(url):
    with pytest.raises(UsageError, match="--notify must be a URL") as refused:
        checked_url(url)
    assert "s3" not in str(refused.value)


@pytest.mark.skipif(HAS_APPRISE, reason="apprise is installed")
def test_a_service_without_apprise_is_refused_with_the_command_that_installs_it():
    with pytest.raises(MachineError, match=r"slack://\*\*\* needs apprise.*pip install 'mamba-yolo-tuner\[notify\]'"):
        checked_url("slack://s3cret/b/c")


@needs_apprise
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_service_that_apprise_does_not_know_is_refused():
    with pytest.raises(UsageError, match=r"that apprise knows, but got nonsense://\*\*\*"):
        checked_url("nonsense://s3cret")


@needs_apprise
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_apprise_delivers_title_and_text(server):  # noqa: F811
    url = checked_url(f"json://127.0.0.1:{server.server_port}/hook")
    assert Delivery(url, MESSAGE, 20).problem_by(time.monotonic() + 20) == ""
    told = json.loads(server.received[0][2])
    assert (told["title"], told["message"]) == ("tune: s done", "s: done")


@needs_apprise
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_service_that_refuses_is_reported_without_its_url(server, caplog):  # noqa: F811
    delivery = Delivery(f"json://127.0.0.1:{server.server_port}/broken/s3cret", MESSAGE, 20)
    assert delivery.problem_by(time.monotonic() + 20) == "apprise could not deliver it"
    assert "s3cret" not in caplog.text


def test_user_and_password_of_a_webhook_are_sent_as_basic_authentication(server):  # noqa: F811
    url = f"http://us%40er:pa%3Ass@127.0.0.1:{server.server_port}/hook"
    assert Delivery(url, MESSAGE, 20).problem_by(time.monotonic() + 20) == ""
    ((path, headers, body),) = server.received
    assert (path, json.loads(body)) == ("/hook", {"outcome": "done"})
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"us@er:pa:ss"
