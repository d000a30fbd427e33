"""Send a message to a URL: a webhook over HTTP, or any service that apprise knows.

The URLs of webhooks are secrets, because whoever knows one can post there. So no message contains more of a URL than
its scheme and host, and of other services, whose hosts can be tokens, no more than the scheme.
"""

import base64
import http.client
import importlib.util
import logging
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from tuner.exceptions import MachineError, UsageError
from tuner.system.masking import URL, masked_url, without_urls

_WEB = ("http", "https")


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """Message in the forms that services take."""

    title: str
    facts: str
    """JSON that a webhook receives."""
    text: str
    """Sentence that other services receive."""


class Delivery:
    """Message on its way to a URL; a thread sends it."""

    def __init__(self, url: str, message: Message, timeout_s: float) -> None:
        self.url = url
        self._message = message
        self._timeout_s = timeout_s
        self._problem: str | None = None
        # A daemon: a server that answers one byte per minute must not keep the process alive.
        self._thread = threading.Thread(target=self._send, name="notification", daemon=True)
        self._thread.start()

    def problem_by(self, deadline: float) -> str:
        """Wait until this time of the monotonic clock, and return why it was not delivered; "" if it was."""
        self._thread.join(max(deadline - time.monotonic(), 0))
        return _no_answer(self._timeout_s) if self._problem is None else self._problem

    def _send(self) -> None:
        try:
            if self.url.partition("://")[0].lower() in _WEB:
                self._problem = _post(self.url, self._message.facts, self._timeout_s)
            else:
                self._problem = _tell_apprise(self.url, self._message)
        except Exception as error:  # a library of a service may raise anything, and its text may contain the secret
            self._problem = type(error).__name__


def checked_url(url: str) -> str:
    """Return the URL if a notification can be sent there.

    Raises:
        UsageError: It is not a URL, or no service that apprise knows.
        MachineError: It needs apprise, which is not installed.
    """
    scheme = url.partition("://")[0].lower()
    if not URL.fullmatch(url) or (scheme in _WEB and not _has_host(url)):
        raise UsageError(
            f"--notify must be a URL such as https://example.org/hook, but got {masked_url(url)}; correct it."
        )
    if scheme in _WEB:
        return url
    if importlib.util.find_spec("apprise") is None:
        raise MachineError(
            f"--notify {masked_url(url)} needs apprise, which is not installed: "
            "pip install 'mamba-yolo-tuner[notify]'; http and https need nothing."
        )
    return _known_to_apprise(url)


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuse to follow redirects: urllib would turn a POST into a GET without the message."""

    def redirect_request(self, req: object, fp: object, code: int, msg: str, headers: object, newurl: str) -> None:
        return None


def _post(url: str, facts: str, timeout_s: float) -> str:
    """Post JSON to a webhook; return why it failed, or ""."""
    parts = urlsplit(url)
    request = urllib.request.Request(
        parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl(),
        data=facts.encode(),
        headers={"Content-Type": "application/json", "User-Agent": "mamba-yolo-tuner", **_credentials(parts)},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return f"it answered with status {error.code}"
    except TimeoutError:
        return _no_answer(timeout_s)
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            return _no_answer(timeout_s)
        return without_urls(str(getattr(error.reason, "strerror", None) or error.reason))
    except (http.client.HTTPException, OSError) as error:
        return f"it did not answer in HTTP ({type(error).__name__})"


def _no_answer(timeout_s: float) -> str:
    return f"no answer within {timeout_s:g} s"


def _credentials(parts: SplitResult) -> dict[str, str]:
    """Return the header for user and password of a URL, which urllib does not read."""
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _known_to_apprise(url: str) -> str:
    import apprise

    _silence_libraries()
    if not apprise.Apprise().add(url):
        raise UsageError(
            f"--notify must be a URL that apprise knows, but got {masked_url(url)}; "
            "see https://github.com/caronc/apprise/wiki."
        )
    return url


def _tell_apprise(url: str, message: Message) -> str:
    """Send title and text through apprise; return why it failed, or ""."""
    import apprise

    _silence_libraries()
    service = apprise.Apprise()
    service.add(url)
    delivered = service.notify(title=message.title, body=message.text)
    return "" if delivered else "apprise could not deliver it"


def _silence_libraries() -> None:
    """Keep URLs out of the log: apprise and its HTTP client write them there."""
    for name in ("apprise", "urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
