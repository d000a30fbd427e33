"""Allow one driver per study: lock the study's folder and hold a lease in its database.

The lock excludes a second driver on the same machine or the same shared folder. The operating system releases it when
the holder dies. The lease excludes drivers on other machines: the holder increments a counter in the database every
few seconds. A driver that wants the lease watches this counter on its own monotonic clock. This avoids comparing the
clocks of different machines, and clocks that jump.
"""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import psutil
import sqlalchemy
from sqlalchemy import Column, Integer, MetaData, String, Table

from tuner.exceptions import StorageError, StudyLockedError
from tuner.storage.database import create_table, open_storage, plain_engine, translated

BEAT_S = 5.0
"""Interval between two heartbeats of a holder, in seconds."""

TIMEOUT_S = 30.0
"""Time without a heartbeat after which a holder on another machine counts as dead, in seconds."""

_LEASES = Table(
    "tune_lease",
    MetaData(),
    Column("study", String(64), primary_key=True),
    Column("token", String(32), nullable=False),
    Column("beats", Integer, nullable=False),
    Column("holder", String(500), nullable=False),
)


class Clock(Protocol):
    """Part of the module `time` that a lease uses."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


@contextlib.contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """Lock the study's folder for this process.

    Raises:
        StudyLockedError: Another process holds the lock.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _refusal(os.pread(fd, 200, 0).decode(errors="replace").strip() or "another process") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{Holder.here()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Identity of a process, unique across machines."""

    host: str
    system: str
    """Kernel boot ID and PID namespace: the scope in which a PID is unique."""
    pid: int
    started: str
    """Start time of the process in kernel ticks, because PIDs are reused."""

    @classmethod
    def here(cls) -> "Holder":
        """Identify this process."""
        return cls(host=socket.gethostname(), system=_system(), pid=os.getpid(), started=_started(os.getpid()))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def is_surely_dead(self) -> bool:
        """Check whether the process ran on this system and has ended; False for a process elsewhere."""
        return self.system == _system() and (not psutil.pid_exists(self.pid) or _started(self.pid) != self.started)

    def is_surely_alive(self) -> bool:
        """Check whether the process runs on this system; False for a process elsewhere."""
        return self.system == _system() and not self.is_surely_dead()


def _system() -> str:
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def _started(pid: int) -> str:
    with contextlib.suppress(OSError, IndexError):
        # The 22nd field. The second one, the name, may contain spaces and brackets.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    with contextlib.suppress(psutil.Error):
        return str(psutil.Process(pid).create_time())
    return ""


class Lease:
    """Exclusive right to drive one study in one database, kept alive by a thread."""

    def __init__(self, url: str, study: str, engine: sqlalchemy.Engine, token: str, clock: Clock) -> None:
        self.url = url
        self.study = study
        self._engine = engine
        self._token = token
        self._clock = clock
        self._beat_at = clock.monotonic()
        self._lost: StudyLockedError | None = None
        self._lock = threading.Lock()
        self._given_back = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name="study-lease", daemon=True)
        self._thread.start()

    def ensure(self) -> None:
        """Check that the lease is still held; ask the database unless the last heartbeat is recent.

        Raises:
            StudyLockedError: Another driver took the lease because this process sent no heartbeat for too long.
            StorageError: The database does not answer.
        """
        if self._lost is not None:
            raise self._lost
        if self._clock.monotonic() - self._beat_at > TIMEOUT_S / 2:
            self._beat()

    def give_back(self) -> None:
        """Release the lease at once; wait at most a few seconds for a database that does not answer."""
        self._given_back.set()
        self._thread.join(BEAT_S)

    def _keep_alive(self) -> None:
        while not self._given_back.wait(BEAT_S):
            try:
                self._beat()
            except StorageError:
                continue  # no driver can take the lease while the database is unreachable
            except StudyLockedError as error:
                self._lost = error  # `ensure` raises it before the next write
                return
        with contextlib.suppress(StorageError, StudyLockedError):
            self._exchange(token="")

    def _beat(self) -> None:
        self._exchange(token=self._token)
        self._beat_at = self._clock.monotonic()

    def _exchange(self, token: str) -> None:
        with self._lock, translated(self.url), self._engine.begin() as connection:
            ours = (_LEASES.c.study == self.study) & (_LEASES.c.token == self._token)
            counted = connection.execute(_LEASES.update().where(ours).values(token=token, beats=_LEASES.c.beats + 1))
            if counted.rowcount == 1:
                return
            row = connection.execute(_LEASES.select().where(_LEASES.c.study == self.study)).first()
        raise _refusal("another driver" if row is None else str(_holder(row.holder)))


@contextlib.contextmanager
def study_lease(
    url: str, study: str, on_event: Callable[[str], None] = lambda line: None, clock: Clock = time
) -> Iterator[Lease]:
    """Hold the lease of a study for this process.

    A dead holder on this machine is replaced at once, one on another machine after TIMEOUT_S without a heartbeat.

    Args:
        url: Database URL.
        study: Name of the study.
        on_event: Receives a one-line message if there is something to wait for.
        clock: Clock for the wait and for the age of the last heartbeat.

    Raises:
        StudyLockedError: Another live driver holds the lease.
        StorageError: The database cannot be used.
    """
    engine = open_storage(url).engine
    try:
        with translated(url):
            create_table(engine, _LEASES)
        token = _taken(url, engine, study, on_event, clock)
        lease = Lease(url, study, engine, token, clock)
        try:
            yield lease
        finally:
            lease.give_back()
    finally:
        engine.dispose()


def _taken(url: str, engine: sqlalchemy.Engine, study: str, on_event: Callable[[str], None], clock: Clock) -> str:
    """Take the lease and return its token."""
    token = uuid4().hex
    seen: tuple[str, int] | None = None
    deadline = clock.monotonic() + TIMEOUT_S
    while True:
        with translated(url):
            row = _try(engine, study, token, seen if clock.monotonic() > deadline else None)
        if row is None:
            return token
        holder = _holder(row.holder)
        if holder.is_surely_alive() or (seen is not None and seen != (row.token, row.beats)):
            raise _refusal(str(holder))
        if seen is None:
            on_event(f"{holder} ran this study last; waiting {TIMEOUT_S:.0f} s to check whether it is still alive")
        seen = (row.token, row.beats)
        clock.sleep(1.0)


def _try(
    engine: sqlalchemy.Engine, study: str, token: str, dead: tuple[str, int] | None
) -> "sqlalchemy.Row[Any] | None":
    """Take the lease if it is free, its holder died here, or its row still equals `dead`; otherwise return the row.

    `dead` is the token and heartbeat count of a holder that timed out.
    """
    mine = {"token": token, "beats": 0, "holder": json.dumps(asdict(Holder.here()))}
    ours = _LEASES.select().where(_LEASES.c.study == study)
    with contextlib.suppress(sqlalchemy.exc.IntegrityError), engine.begin() as connection:  # another driver was first
        if connection.execute(ours).first() is None:
            connection.execute(_LEASES.insert().values(study=study, **mine))
            return None
    with engine.begin() as connection:
        row = connection.execute(ours).one()
        free = row.token == "" or _holder(row.holder).is_surely_dead() or (row.token, row.beats) == dead
        if free:
            still = (_LEASES.c.study == study) & (_LEASES.c.token == row.token) & (_LEASES.c.beats == row.beats)
            if connection.execute(_LEASES.update().where(still).values(**mine)).rowcount == 1:
                return None
        return row


def holder_of(url: str, study: str) -> Holder | None:
    """Return the lease holder recorded in the database; None if there is no holder, or it is certainly dead."""
    with translated(url), plain_engine(url) as engine, engine.connect() as connection:
        return holder_in(connection, study)


def holder_in(connection: sqlalchemy.Connection, study: str) -> Holder | None:
    """Return the lease holder recorded in a database, as `holder_of` does; call it inside `translated`."""
    beat = _beat_in(connection, study)
    return None if beat is None or beat.holder.is_surely_dead() else beat.holder


@dataclass(frozen=True, slots=True)
class Beat:
    """Last heartbeat of a lease holder."""

    holder: Holder
    token: str
    count: int


def last_beat(url: str, study: str) -> Beat | None:
    """Return the last heartbeat of the lease holder recorded in the database, dead or alive; None if nobody holds it.

    Raises:
        StorageError: The database cannot be used.
    """
    with translated(url), plain_engine(url) as engine, engine.connect() as connection:
        return _beat_in(connection, study)


def _beat_in(connection: sqlalchemy.Connection, study: str) -> Beat | None:
    if not sqlalchemy.inspect(connection).has_table(_LEASES.name):
        return None
    row = connection.execute(_LEASES.select().where(_LEASES.c.study == study)).first()
    return None if row is None or row.token == "" else Beat(_holder(row.holder), row.token, row.beats)


class HeartbeatWatch:
    """Watch of a study's driver from another process, by its heartbeats on this process's clock."""

    def __init__(self, url: str, study: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._study = study
        self._now_s = now_s
        self._seen: Beat | None = None
        self._changed_s = now_s()

    def look(self) -> Beat | None:
        """Ask the database for the last heartbeat; None if the study has no driver."""
        beat = last_beat(self._url, self._study)
        if beat != self._seen:
            self._seen, self._changed_s = beat, self._now_s()
        return beat

    def problem(self) -> str:
        """Say why the driver that was last seen appears to be dead; empty if it does not."""
        if self._seen is None:
            return ""
        if self._seen.holder.is_surely_dead():
            return f"{self._seen.holder}, which drove this study, has died"
        silent_s = self._now_s() - self._changed_s
        if silent_s <= TIMEOUT_S or self._seen.holder.is_surely_alive():
            return ""
        return f"{self._seen.holder} appears to be dead: no heartbeat for {silent_s:.0f} s"


def _holder(text: str) -> Holder:
    return Holder(**json.loads(text))


def _refusal(holder: str) -> StudyLockedError:
    return StudyLockedError(f"A study can have only one driver, but {holder} runs this one; wait for it, or stop it.")
