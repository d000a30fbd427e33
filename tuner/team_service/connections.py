"""Close connections that send no request, so that nobody can hold all of them."""

from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

IDLE_S = 30.0
"""Time in which a connection must send the head of its next request, in seconds."""


class TimedProtocol(H11Protocol):
    """HTTP that waits for the head of a request only so long; uvicorn itself waits for ever."""

    _seen: Any = None
    """Request that was the last one at the previous look; None for none."""

    def connection_made(self, transport: Any) -> None:
        """Begin to look at a connection."""
        super().connection_made(transport)
        self.loop.call_later(IDLE_S, self._look)

    def _look(self) -> None:
        """Close the connection if no request is in progress, and none has come since the last look."""
        if self.transport.is_closing():
            return
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self.cycle is self._seen:
            self.transport.close()
            return
        self._seen = self.cycle
        self.loop.call_later(IDLE_S, self._look)
