"""Serve the dashboard over HTTP."""

import logging
import socket
import socketserver
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from tuner.dashboard.access import LOCAL_NAMES, protected
from tuner.dashboard.catalogue import Catalogue
from tuner.dashboard.changes import without_changes
from tuner.dashboard.view_storage import ViewArtifacts, ViewStorage
from tuner.exceptions import MachineError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_LOG = logging.getLogger(__name__)
_DETAIL = "/api/studies/<study_id:int>"
_IDLE_S = 60
"""Time after which a silent connection is closed, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Address that the server listens on."""

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Check whether only this machine can reach the address."""
        try:
            return self.host in LOCAL_NAMES or ip_address(self.host).is_loopback
        except ValueError:
            return False

    def url(self, path: str) -> str:
        """Return the URL of a page; the name of this machine stands for all its addresses."""
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}{path}"


def application(catalogue: Catalogue, password: str | None, *, is_read_only: bool) -> "WSGIApplication":
    """Return the dashboard of a catalogue; None as the password lets everybody on this machine in."""
    from optuna_dashboard import wsgi  # a second to import

    # Two of a search's trials may share a branch of the space; the importance says so with every request.
    warnings.filterwarnings("ignore", module=r"optuna\.importance")
    app = wsgi(ViewStorage(catalogue), artifact_store=ViewArtifacts(catalogue))
    app.install(_TrialNotes(catalogue))
    return protected(without_changes(app, catalogue, is_read_only=is_read_only), password)


class _TrialNotes:
    """Plugin of Bottle that adds the notes on trials to the answer about a study.

    Optuna's dashboard would look for them in the attributes of the study, all of them for each trial: that takes a
    second for 1,000 trials.
    """

    name, api = "trial-notes", 2

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def apply(self, callback: Callable[..., Any], route: Any) -> Callable[..., Any]:
        return self._noted(callback) if (route.method, route.rule) == ("GET", _DETAIL) else callback

    def _noted(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        def detail(study_id: int) -> Any:
            answer = callback(study_id=study_id)
            if isinstance(answer, dict) and "trials" in answer:
                view = self._catalogue.view(study_id)
                for trial in (*answer["trials"], *answer["best_trials"]):
                    trial["note"] = view.trial_note(trial["trial_id"])
            return answer

        return detail


def serve(app: "WSGIApplication", address: Address, on_start: Callable[[], None]) -> None:
    """Serve an application until the process is interrupted; call `on_start` once it is reachable.

    Raises:
        MachineError: The address cannot be listened on.
    """
    with _listening(address) as server:
        server.set_app(app)
        on_start()
        server.serve_forever()


def _listening(address: Address) -> "_Server":
    try:
        family, *_, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        kind = _ServerOfIpv6 if family == socket.AF_INET6 else _Server
        return kind((str(place[0]), address.port), _Handler)
    except OSError as error:
        raise MachineError(
            f"--host and --port must be free on this machine, but {address.host}:{address.port} is not "
            f"({error.strerror}); choose others."
        ) from error


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """Server with a thread for each connection: browsers open some that they do not use."""

    daemon_threads = True

    def server_bind(self) -> None:
        # Without the look-up of a name, which takes long where no name server answers.
        socketserver.TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log errors of a connection; most are clients that have gone."""
        _LOG.debug("connection of %s", client_address, exc_info=sys.exc_info())


class _ServerOfIpv6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    """Handler that prints no line for a request."""

    timeout = _IDLE_S

    def log_message(self, format: str, *args: Any) -> None:
        _LOG.debug(format, *args)
