"""Let requests in: find out who asks, and refuse forged and too many requests."""

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

from tuner.team_service.accounts import Accounts
from tuner.team_service.audit import AuditLog
from tuner.team_service.limits import RateLimit, network_of
from tuner.team_service.sessions import form_key, has_form_key
from tuner.team_service.tokens import Token
from tuner.team_service.users import User

COOKIE = "tune_session"
SECURE_COOKIE = "__Host-tune_session"
"""Name behind TLS: browsers then refuse one that another host of the domain, or a page without TLS, has set."""

FORM_HEADER = "X-CSRF-Token"

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL_PATH = re.compile(r"/(?![/\\])[A-Za-z0-9._~/?=&%@+,-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Sender of a request."""

    user: User
    token: int
    """Number of the token."""
    address: str
    cookie: str | None
    """Cookie of the session; None for a request with the token itself."""

    @property
    def form_key(self) -> str:
        """Key that the forms of this session must repeat."""
        return "" if self.cookie is None else form_key(self.cookie)


class Guard:
    """Checks of every request. They ask the database each time, so a revoked token ends at once."""

    def __init__(self, accounts: Accounts, audit: AuditLog) -> None:
        """Start with nobody near a limit."""
        self._accounts = accounts
        self._audit = audit
        self._requests = RateLimit(burst=120, per_s=10.0)
        """Requests of a token."""
        self._failures = RateLimit(burst=10, per_s=10 / 60)
        """Wrong tokens from an address."""
        self._checks = RateLimit(burst=20, per_s=0.2)
        """Checks of spaces for a token: each may take seconds of CPU time."""

    def caller(self, request: Request) -> Caller:
        """Return who has sent a request.

        Raises:
            HTTPException: 401 nobody that we know, 403 a page of another site, 429 too many requests.
            StorageError: The database cannot be used.
        """
        address = address_of(request)
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme:
            cookie = None
            token = self.token(text.strip() if scheme.lower() == "bearer" else "", address)
        else:
            cookie, token = self._session(request)
        if not self._requests.take(str(token.number)):
            _refuse_pace(self._requests.wait_s(str(token.number)))
        caller = Caller(user=token.user, token=token.number, address=address, cookie=cookie)
        if cookie is not None and request.method not in _READING:
            refuse_other_sites(request)
        return caller

    def token(self, text: str, address: str) -> Token:
        """Return the token of a text from an address.

        Raises:
            HTTPException: 401 it is not valid, 429 there were too many such texts from there.
            StorageError: The database cannot be used.
        """
        network = network_of(address)
        if self._failures.left(network) < 1:
            _refuse_pace(self._failures.wait_s(network))
        token = self._accounts.tokens.found(text)
        if token is None:
            self._failures.take(network)
            self._audit.note(did="log in", who="", role="", address=address, outcome="refused: wrong token")
            raise HTTPException(
                HTTPStatus.UNAUTHORIZED,
                "The token is not valid: wrong, expired or revoked.",
                {"WWW-Authenticate": "Bearer"},
            )
        return token

    def still_valid(self, caller: Caller) -> bool:
        """Check whether a long answer may continue.

        Raises:
            StorageError: The database cannot be used.
        """
        if caller.cookie is not None:
            return self._accounts.token_of_session(caller.cookie) is not None
        return self._accounts.tokens.of_number(caller.token) is not None

    def require_form_key(self, caller: Caller, given: str) -> None:
        """Refuse a request with a cookie that does not repeat the key of its session.

        Raises:
            HTTPException: 403.
        """
        if caller.cookie is not None and not has_form_key(caller.cookie, given):
            self.note(caller, "send a form", outcome="refused: no key of the session")
            raise HTTPException(HTTPStatus.FORBIDDEN, "The form is too old, or of another site; reload the page.")

    def require(self, caller: Caller, did: str, study: str = "", *, is_allowed: bool) -> None:
        """Refuse what the role of a caller does not allow.

        Raises:
            HTTPException: 403.
        """
        if not is_allowed:
            self.note(caller, did, study, outcome="refused: role or owner")
            raise HTTPException(HTTPStatus.FORBIDDEN, f"Your role is {caller.user.role}, which must not {did} here.")

    def count_check(self, caller: Caller) -> None:
        """Count the check of a space.

        Raises:
            HTTPException: 429 the caller has asked for too many.
        """
        key = str(caller.token)
        if not self._checks.take(key):
            _refuse_pace(self._checks.wait_s(key))

    def note(self, caller: Caller, did: str, study: str = "", *, outcome: str = "done") -> None:
        """Write into the audit log what somebody did."""
        user = caller.user
        self._audit.note(did=did, who=user.name, role=user.role, address=caller.address, study=study, outcome=outcome)

    def _session(self, request: Request) -> tuple[str, Token]:
        cookie = request.cookies.get(cookie_name(request), "")
        token = self._accounts.token_of_session(cookie) if cookie else None
        if token is None:
            raise HTTPException(
                HTTPStatus.UNAUTHORIZED,
                "A token is required; an administrator creates it.",
                {"WWW-Authenticate": "Bearer"},
            )
        return cookie, token


def refuse_other_sites(request: Request) -> None:
    """Refuse a request that a page of another site has caused, as browsers report it; other programs do not.

    Raises:
        HTTPException: 403.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    is_other = site is not None and site not in ("same-origin", "none")
    if origin is not None and not is_other:
        is_other = _netloc(origin) != request.headers.get("host", "")
    if is_other:
        raise HTTPException(HTTPStatus.FORBIDDEN, "Requests from pages of other sites are refused.")


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def address_of(request: Request) -> str:
    """Return the address of the sender: that of a proxy, unless `--proxy` trusts it."""
    return "unknown" if request.client is None else request.client.host


def is_encrypted(request: Request) -> bool:
    """Check whether the browser uses TLS, which a trusted proxy reports."""
    return request.url.scheme == "https"


def cookie_name(request: Request) -> str:
    """Return the name of the session's cookie."""
    return SECURE_COOKIE if is_encrypted(request) else COOKIE


def local_path(text: str) -> str:
    """Return a path of this service to go to after the login; "/" for any other text."""
    return text if _LOCAL_PATH.fullmatch(text) else "/"


def _refuse_pace(wait_s: int) -> NoReturn:
    raise HTTPException(
        HTTPStatus.TOO_MANY_REQUESTS, f"Too many requests; ask again in {wait_s} s.", {"Retry-After": str(wait_s)}
    )
