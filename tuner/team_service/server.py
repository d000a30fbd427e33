"""Run the service."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from tuner.exceptions import MachineError, UsageError
from tuner.study_queue.client import QueueClient
from tuner.study_queue.table import opened_queue
from tuner.team_service.accounts import opened_accounts
from tuner.team_service.app import application
from tuner.team_service.connections import IDLE_S, TimedProtocol
from tuner.team_service.service import Service
from tuner.team_service.settings import ServiceSettings

_END_S = 3
"""Time that open requests have when the service ends, in seconds."""

_MOST_CONNECTIONS = 1000
_BACKLOG = 128
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(settings: ServiceSettings, listening: socket.socket, proxy: str | None, on_start: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: Settings of the service.
        listening: Socket to listen on.
        proxy: Address of the proxy whose headers about the sender are believed; None for none.
        on_start: Called once it is reachable.

    Raises:
        StorageError: The database cannot be used at the start.
    """
    url = settings.database
    with opened_queue(url) as table, opened_accounts(url) as accounts:
        service = Service.of(settings, table, accounts, lambda: QueueClient(settings.cluster))
        config = uvicorn.Config(
            application(service),
            proxy_headers=proxy is not None,
            forwarded_allow_ips=proxy or "",
            server_header=False,
            access_log=False,
            log_config=None,
            lifespan="off",
            http=TimedProtocol,
            timeout_keep_alive=int(IDLE_S),
            timeout_graceful_shutdown=_END_S,
            limit_concurrency=_MOST_CONNECTIONS,
            ws="none",
        )
        try:
            with _log():
                asyncio.run(_Server(config, service, on_start).serve([listening]))
        finally:
            service.keeping.stop()


@contextlib.contextmanager
def _log() -> Iterator[None]:
    """Print what goes wrong in the service on standard error, with the time."""
    logger, handler = logging.getLogger("tuner.team_service"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)


def refuse_without_token(settings: ServiceSettings, host: str) -> None:
    """Refuse to let other machines in while nobody has a token.

    Raises:
        UsageError: There is no valid token.
        StorageError: The database cannot be used.
    """
    with opened_accounts(settings.database) as accounts:
        if not accounts.tokens.has_valid():
            raise UsageError(
                f"--host {host} lets other machines in, which needs a token, but there is none; "
                "`tune token add NAME --role admin` creates one."
            )


def bound(host: str, port: int) -> socket.socket:
    """Return a socket at an address; 0 as the port chooses a free one.

    Raises:
        MachineError: The address is not free.
    """
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(_BACKLOG)
    except OSError as error:
        raise MachineError(
            f"--host and --port must be free on this machine, but {host}:{port} is not ({error.strerror}); choose "
            "others."
        ) from error
    return listening


class _Server(uvicorn.Server):
    """Server that ends streams at a signal, and then returns instead of dying of the signal."""

    def __init__(self, config: uvicorn.Config, service: Service, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()
        self._service.keeping.start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.closing.set()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {signum: signal.signal(signum, self.handle_exit) for signum in _SIGNALS}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
