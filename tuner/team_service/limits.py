"""Limit how often somebody may ask, and how much a request may contain."""

import asyncio
import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from tuner.study_queue.entries import MOST_SPACE_BYTES
from tuner.team_service.answers import refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_SPACE_BODY_BYTES = 4 * MOST_SPACE_BYTES
"""Maximum body of a request with a space: its text, with what JSON or a form adds to it."""

MOST_BODY_BYTES = 8 << 10
"""Maximum body of any other request."""

BODY_S = 20.0
"""Time in which a body must have arrived, in seconds."""

_WITH_SPACE = frozenset({"/api/v1/studies", "/api/v1/spaces/check", "/submit"})

_MOST_KEYS = 10_000


class RateLimit:
    """A bucket for each user or address: it holds some requests, and fills at a steady rate. Safe for threads."""

    def __init__(self, *, burst: int, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with full buckets.

        Args:
            burst: Requests at once.
            per_s: Requests per second in the long run.
            clock: Monotonic time in seconds.
        """
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What is left, and when that was so; the one that was used last is the last one."""

    def left(self, key: str) -> float:
        """Return the number of requests that the key has left."""
        left, then = self._buckets.get(key, (float(self._burst), self._clock()))
        return min(self._burst, left + (self._clock() - then) * self._per_s)

    def take(self, key: str) -> bool:
        """Count a request; return False if there was none left."""
        with self._lock:
            left = self.left(key)
            self._buckets[key] = (left - 1 if left >= 1 else left, self._clock())
            self._buckets.move_to_end(key)
            if len(self._buckets) > _MOST_KEYS:
                self._buckets.popitem(last=False)
        return left >= 1

    def wait_s(self, key: str) -> int:
        """Return the seconds after which the key has a request again, at least 1."""
        return max(1, round((1 - self.left(key)) / self._per_s + 0.5))


def network_of(address: str) -> str:
    """Return what counts as one sender: an IPv4 address, or the /64 that one subscriber has in IPv6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))


class BodyLimit:
    """Middleware that reads the whole body before the application sees the request, if it is small and in time."""

    def __init__(self, app: "ASGIApp") -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request that is too large or too slow; pass on the others."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = MOST_SPACE_BODY_BYTES if scope["path"] in _WITH_SPACE else MOST_BODY_BYTES
        try:
            body = await asyncio.wait_for(_body(scope, receive, most), BODY_S)
        except TimeoutError:
            text = f"The body must arrive within {BODY_S:.0f} s; send it faster."
            await refusal(HTTPStatus.REQUEST_TIMEOUT, text)(scope, receive, send)
            return
        if body is None:
            text = f"The body must have at most {most:,} bytes; send a smaller one."
            await refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, {"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)


async def _body(scope: "Scope", receive: "Receive", most: int) -> bytes | None:
    """Return the body; None if it is too large, which the header may tell before anything is read."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if not declared.isdigit() or int(declared[:12]) > most:
        return None
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(parts)
        parts += message.get("body", b"")
        if len(parts) > most:
            return None
        if not message.get("more_body", False):
            return bytes(parts)


def _replayed(body: bytes, receive: "Receive") -> "Receive":
    """Return a function that gives the application the body once, then what follows it."""
    is_read = False

    async def replay() -> "Message":
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
