"""Send the events of a study for as long as somebody listens."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from http import HTTPStatus

from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from tuner.exceptions import TunerError
from tuner.team_service.events import RETRY_MS, Position, events
from tuner.team_service.guard import Caller
from tuner.team_service.service import Service

_LOOK_S = 2.0
"""Interval between two looks at a study, in seconds."""

_STEP_S = 0.25
"""Interval at which a stream notices that the service ends, in seconds."""

_QUIET_S = 15.0
"""Time after which a comment shows proxies and clients that the stream lives, in seconds."""

_LONGEST_S = 3600.0
"""Time after which a stream ends; clients connect again by themselves."""

_MOST_OF_TOKEN = 20
_MOST = 200

_open: Counter[int] = Counter()
"""Number of open streams by token; changed by the thread of the event loop alone."""


async def stream(service: Service, caller: Caller, name: str, last_id: str) -> StreamingResponse:
    """Follow a study.

    Args:
        service: The service.
        caller: Who listens.
        name: Name of the study.
        last_id: Identity of the last event that the client has; any other text for none.

    Raises:
        HTTPException: 404 there is no such study, 429 the user has too many streams.
    """
    await run_in_threadpool(service.studies.row, caller.user, name)
    if _open[caller.token] >= _MOST_OF_TOKEN or _open.total() >= _MOST:
        text = f"At most {_MOST_OF_TOKEN} streams of a user may be open at once; close some."
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, text, {"Retry-After": "10"})
    headers = {"X-Accel-Buffering": "no"}  # nginx would hold the events back
    return StreamingResponse(_counted(service, caller, name, last_id), media_type="text/event-stream", headers=headers)


async def _counted(service: Service, caller: Caller, name: str, last_id: str) -> AsyncIterator[str]:
    _open[caller.token] += 1
    try:
        async for text in _events(service, caller, name, Position.decoded(last_id)):
            yield text
    finally:
        _open[caller.token] -= 1


async def _events(service: Service, caller: Caller, name: str, known: Position | None) -> AsyncIterator[str]:
    """Yield events until the study is over, the token is revoked, or the service ends."""
    yield f"retry: {RETRY_MS}\n\n"
    began_s = said_s = time.monotonic()
    while time.monotonic() - began_s < _LONGEST_S:
        try:
            if not await run_in_threadpool(service.guard.still_valid, caller):
                return
            row = await run_in_threadpool(service.studies.row, caller.user, name)
        except HTTPException:
            return
        except TunerError:  # the database is away: the stream waits for it
            yield ": the database does not answer\n\n"
        else:
            for event in events(known, row):
                said_s = time.monotonic()
                yield event
            if row.is_over:
                return
            known = Position.of(row)
        if time.monotonic() - said_s > _QUIET_S:
            said_s = time.monotonic()
            yield ": still here\n\n"
        if not await _waited(service):
            return


async def _waited(service: Service) -> bool:
    """Wait until the next look; return False if the service ends."""
    for _ in range(round(_LOOK_S / _STEP_S)):
        if service.closing.is_set():
            return False
        await asyncio.sleep(_STEP_S)
    return True
