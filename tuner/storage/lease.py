"""One driver per study: a lock on its folder, and a lease in its database.

The lock keeps two drivers on one machine, or on one shared folder, apart; the operating system takes it back when its
holder dies. The lease keeps drivers on different machines apart: its holder counts up a number in the database every
few seconds. Who wants the lease watches that number on its own monotonic clock, so no two clocks are ever compared,
and none of them may jump.
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
from typing import Any
from uuid import uuid4

import psutil
import sqlalchemy
from sqlalchemy import Column, Integer, MetaData, String, Table

from tuner.exceptions import StorageProblem, StudyLocked
from tuner.storage.database import open_storage, plain_engine, translated

BEAT_S = 5.0
"""How often a holder shows that it lives."""

TIMEOUT_S = 30.0
"""A holder on another machine that has not counted for so long is dead."""

_LEASES = Table(
    "tune_lease",
    MetaData(),
    Column("study", String(64), primary_key=True),
    Column("token", String(32), nullable=False),
    Column("beats", Integer, nullable=False),
    Column("holder", String(500), nullable=False),
)


@contextlib.contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """Hold the study's folder for this process.

    Raises:
        StudyLocked: another process holds it.
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
    """A process, told from all others on all machines."""

    host: str
    system: str
    """The boot of the kernel and the namespace of process ids: where a pid means something."""
    pid: int
    started: str
    """When the process began, in the kernel's ticks: a pid is used again."""

    @classmethod
    def here(cls) -> "Holder":
        """This process."""
        return cls(host=socket.gethostname(), system=_system(), pid=os.getpid(), started=_started(os.getpid()))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def is_surely_dead(self) -> bool:
        """Whether it ran here and is gone; of a process elsewhere nothing is known."""
        return self.system == _system() and (not psutil.pid_exists(self.pid) or _started(self.pid) != self.started)

    def is_surely_alive(self) -> bool:
        """Whether it runs here."""
        return self.system == _system() and not self.is_surely_dead()


def _system() -> str:
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def _started(pid: int) -> str:
    with contextlib.suppress(OSError, IndexError):
        # The 22nd field; the second, the name, may itself hold blanks and brackets.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    with contextlib.suppress(psutil.Error):
        return str(psutil.Process(pid).create_time())
    return ""


class Lease:
    """The right to drive one study of one database, kept alive by a thread."""

    def __init__(self, url: str, study: str, engine: sqlalchemy.Engine, token: str) -> None:
        self.url = url
        self.study = study
        self._engine = engine
        self._token = token
        self._beat_at = time.monotonic()
        self._lost: StudyLocked | None = None
        self._lock = threading.Lock()
        self._given_back = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name="study-lease", daemon=True)
        self._thread.start()

    def ensure(self) -> None:
        """Make sure that the lease is still held, with the database's word for it unless that is fresh.

        Raises:
            StudyLocked: another driver took it, after this process had not shown itself for too long.
            StorageProblem: the database does not answer.
        """
        if self._lost is not None:
            raise self._lost
        if time.monotonic() - self._beat_at > TIMEOUT_S / 2:
            self._beat()

    def give_back(self) -> None:
        """Let the next driver in at once; waits a few seconds at most for a database that does not answer."""
        self._given_back.set()
        self._thread.join(BEAT_S)

    def _keep_alive(self) -> None:
        while not self._given_back.wait(BEAT_S):
            try:
                self._beat()
            except StorageProblem:
                continue  # nobody else can take the lease of a database that is away
            except StudyLocked as error:
                self._lost = error  # `ensure` tells whoever writes next
                return
        with contextlib.suppress(StorageProblem, StudyLocked):
            self._exchange(token="")

    def _beat(self) -> None:
        self._exchange(token=self._token)
        self._beat_at = time.monotonic()

    def _exchange(self, token: str) -> None:
        with self._lock, translated(self.url), self._engine.begin() as connection:
            ours = (_LEASES.c.study == self.study) & (_LEASES.c.token == self._token)
            counted = connection.execute(_LEASES.update().where(ours).values(token=token, beats=_LEASES.c.beats + 1))
            if counted.rowcount == 1:
                return
            row = connection.execute(_LEASES.select().where(_LEASES.c.study == self.study)).first()
        raise _refusal("another driver" if row is None else str(_holder(row.holder)))


@contextlib.contextmanager
def study_lease(url: str, study: str, on_event: Callable[[str], None] = lambda line: None) -> Iterator[Lease]:
    """Hold the study for this process, in its database.

    A holder that died on this machine is succeeded at once; one on another machine after TIMEOUT_S without a sign.

    Args:
        on_event: told, in one line, that there is something to wait for.

    Raises:
        StudyLocked: another driver holds it and lives.
        StorageProblem: the database cannot be used.
    """
    engine = open_storage(url).engine
    try:
        with translated(url):
            _create_table(engine)
        lease = Lease(url, study, engine, _taken(url, engine, study, on_event))
        try:
            yield lease
        finally:
            lease.give_back()
    finally:
        engine.dispose()


def _create_table(engine: sqlalchemy.Engine) -> None:
    try:
        _LEASES.create(engine, checkfirst=True)
    except sqlalchemy.exc.DBAPIError:
        if not sqlalchemy.inspect(engine).has_table(_LEASES.name):  # two drivers at once: one of them made it
            raise


def _taken(url: str, engine: sqlalchemy.Engine, study: str, on_event: Callable[[str], None]) -> str:
    """The token of a lease that is ours now."""
    token = uuid4().hex
    seen: tuple[str, int] | None = None
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        with translated(url):
            row = _try(engine, study, token, seen if time.monotonic() > deadline else None)
        if row is None:
            return token
        holder = _holder(row.holder)
        if holder.is_surely_alive() or (seen is not None and seen != (row.token, row.beats)):
            raise _refusal(str(holder))
        if seen is None:
            on_event(f"{holder} drove this study last; waiting {TIMEOUT_S:.0f} s to see whether it lives")
        seen = (row.token, row.beats)
        time.sleep(1.0)


def _try(
    engine: sqlalchemy.Engine, study: str, token: str, dead: tuple[str, int] | None
) -> "sqlalchemy.Row[Any] | None":
    """Take a lease that is free, whose holder died here, or whose token and count have stood still; else the row."""
    mine = {"token": token, "beats": 0, "holder": json.dumps(asdict(Holder.here()))}
    ours = _LEASES.select().where(_LEASES.c.study == study)
    with contextlib.suppress(sqlalchemy.exc.IntegrityError), engine.begin() as connection:  # another was first
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
    """Who drives the study, as far as its database knows; none when nobody does, or surely not any more."""
    with translated(url), plain_engine(url) as engine:
        if not sqlalchemy.inspect(engine).has_table(_LEASES.name):
            return None
        with engine.begin() as connection:
            row = connection.execute(_LEASES.select().where(_LEASES.c.study == study)).first()
    if row is None or row.token == "":
        return None
    holder = _holder(row.holder)
    return None if holder.is_surely_dead() else holder


def _holder(text: str) -> Holder:
    return Holder(**json.loads(text))


def _refusal(holder: str) -> StudyLocked:
    return StudyLocked(f"Only one driver may run a study, and {holder} runs this one; wait for it, or stop it.")
