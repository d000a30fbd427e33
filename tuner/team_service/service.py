"""Hold the parts of the service that its routes use."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from tuner.storage.database import open_storage
from tuner.study_queue.table import QueueTable
from tuner.team_service.accounts import Accounts
from tuner.team_service.audit import AuditLog
from tuner.team_service.dashboard import Dashboard
from tuner.team_service.data_roots import DataRoots
from tuner.team_service.guard import FORM_HEADER, Caller, Guard
from tuner.team_service.keeping import Cluster, Keeping
from tuner.team_service.results import Results
from tuner.team_service.settings import ServiceSettings
from tuner.team_service.studies import Studies
from tuner.team_service.submissions import Submissions

AWAY = "The cluster does not answer or has not begun; queued studies start when it does."


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """All parts of one service."""

    settings: ServiceSettings
    accounts: Accounts
    guard: Guard
    audit: AuditLog
    studies: Studies
    results: Results
    submissions: Submissions
    dashboard: Dashboard
    keeping: Keeping
    closing: threading.Event = field(default_factory=threading.Event)
    """Set when the service ends: streams end then."""

    @classmethod
    def of(
        cls, settings: ServiceSettings, table: QueueTable, accounts: Accounts, connect: Callable[[], Cluster]
    ) -> "Service":
        """Put the parts together.

        Args:
            settings: Settings that the service was started with.
            table: The queue.
            accounts: Tokens and sessions.
            connect: Function that connects to the cluster.

        Raises:
            StorageError: The database of the studies cannot be used.
        """
        if settings.storage is not None:
            open_storage(settings.storage).engine.dispose()  # creates the tables of the first study
        audit, studies = AuditLog(settings.folder), Studies(settings, table)
        return cls(
            settings=settings,
            accounts=accounts,
            guard=Guard(accounts, audit),
            audit=audit,
            studies=studies,
            results=Results(studies),
            submissions=Submissions(table, studies, DataRoots(settings.data_roots)),
            dashboard=Dashboard(settings),
            keeping=Keeping(table, settings.database, connect),
        )

    @property
    def notice(self) -> str:
        """Obstacle to the start of queued studies, without names of machines; empty if none is known."""
        return AWAY if self.keeping.problem else ""

    def shows_dashboard(self, caller: Caller) -> bool:
        """Check whether a user may open the dashboard, which shows the studies of all."""
        return caller.user.is_admin or not self.settings.is_private


def service_of(request: Request) -> Service:
    """Return the service that a request was sent to."""
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(service_of)]

_BEARER = HTTPBearer(auto_error=False, description="A token of `tune token add`.")


def caller_of(request: Request, service: Served) -> Caller:
    """Return who has sent a request.

    Raises:
        HTTPException: 401, 403 or 429, see `Guard.caller`.
    """
    return service.guard.caller(request)


def caller_of_api(request: Request, service: Served, documented: Annotated[object, Security(_BEARER)]) -> Caller:
    """Return who has sent a request to the REST interface; with a cookie, changes need the key of the session.

    Raises:
        HTTPException: 401, 403 or 429.
    """
    caller = service.guard.caller(request)
    if request.method != "GET":
        service.guard.require_form_key(caller, request.headers.get(FORM_HEADER, ""))
    return caller


Reader = Annotated[Caller, Depends(caller_of)]
"""Caller of a page."""

Client = Annotated[Caller, Depends(caller_of_api)]
"""Caller of the REST interface."""
