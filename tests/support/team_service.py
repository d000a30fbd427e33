"""Run a team service on this machine, in a thread, with users of every role and studies of two of them."""

import contextlib
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn

from tests.support.synthetic_study import synthetic_study
from tuner.exceptions import MachineError
from tuner.study import StudyPaths
from tuner.study_queue.entries import Entry, State, Submission
from tuner.study_queue.table import QueueTable, opened_queue
from tuner.team_service.accounts import Accounts, opened_accounts
from tuner.team_service.app import application
from tuner.team_service.connections import TimedProtocol
from tuner.team_service.service import Service
from tuner.team_service.settings import ServiceSettings
from tuner.team_service.users import Role

USERS: Mapping[str, Role] = {"ann": Role.ADMIN, "bob": Role.SUBMIT, "cat": Role.SUBMIT, "eve": Role.READ}

SPACE = """search: {epochs: 9, rungs: [3], strategy: asha-stopping, reduction_factor: 3, trials: 6, sampler: random,
         promote_epochs: 4, reevaluation_runs: 0}
parameters:
  optimizer: SGD
  batch: 16
  imgsz: 64
  lr0: {float: [0.0001, 0.9], log: true}
baseline: {lr0: 0.01}
"""
TIMEOUT_S = 60


class AwayCluster:
    """A cluster that does not answer, and counts the requests."""

    def __init__(self, problem: str = "the cluster at http://secret-host:8265 does not answer") -> None:
        self.problem = problem
        self.asked = 0

    def ensure_keeper(self) -> None:
        self.asked += 1
        if self.problem:
            raise MachineError(self.problem)


@dataclass(frozen=True, slots=True)
class Team:
    """A running service."""

    url: str
    home: Path
    tokens: Mapping[str, str]
    service: Service
    table: QueueTable
    accounts: Accounts

    def client(self, user: str | None = None) -> httpx.Client:
        """Return a client with the token of a user; None for an anonymous client."""
        headers = {} if user is None else {"Authorization": f"Bearer {self.tokens[user]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S)

    @contextlib.contextmanager
    def browser(self, user: str) -> Iterator[httpx.Client]:
        """Yield a client that has logged in as a browser does, with a cookie."""
        with httpx.Client(base_url=self.url, timeout=TIMEOUT_S) as client:
            answer = client.post("/login", data={"token": self.tokens[user]})
            assert answer.status_code == 303, answer.text
            yield client

    def submitted(self, study: str, owner: str, state: State = State.QUEUED) -> Entry:
        """Put a study into the queue, and give its entry a state."""
        entry = self.table.add(Submission(study=study, owner=owner, space_name="small", space=SPACE))
        if state != State.QUEUED:
            self.table.change(entry, state=state.value)
        self.service.studies.forget_entries()
        return self.table.entry(entry.number)

    def audit(self) -> str:
        """Return the audit log."""
        file = self.service.settings.folder / "audit.jsonl"
        return file.read_text() if file.exists() else ""


@contextlib.contextmanager
def running_team(
    home: Path,
    *,
    storage: str | None = None,
    is_private: bool = False,
    data_roots: tuple[Path, ...] = (),
    connect: Callable[[], AwayCluster] = AwayCluster,
) -> Iterator[Team]:
    """Serve a home in a thread for the duration of the block; every user of USERS has a token."""
    settings = ServiceSettings(
        home=home.absolute(), storage=storage, is_private=is_private, data_roots=tuple(r.resolve() for r in data_roots)
    )
    with opened_queue(settings.database) as table, opened_accounts(settings.database) as accounts:
        tokens = {name: accounts.tokens.add(name, role) for name, role in USERS.items()}
        service = Service.of(settings, table, accounts, connect)
        with socket.socket() as listening, _served(service, listening) as url:
            yield Team(url, home, tokens, service, table, accounts)


@contextlib.contextmanager
def _served(service: Service, listening: socket.socket) -> Iterator[str]:
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        application(service),
        log_config=None,
        lifespan="off",
        http=TimedProtocol,
        ws="none",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    deadline = time.monotonic() + TIMEOUT_S
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        service.closing.set()
        server.should_exit = True
        thread.join(TIMEOUT_S)


def recorded_study(home: Path, name: str, template: Path | None = None) -> Path:
    """Write a finished study into a home; copying the folder `template` of another one is faster."""
    if template is None:
        return synthetic_study(home, trials=4, slots=2, name=name).root
    paths = StudyPaths(home / name)
    shutil.copytree(template, paths.root)
    with contextlib.closing(sqlite3.connect(paths.database)) as database, database:
        database.execute("UPDATE studies SET study_name = ?", (name,))
    return paths.root
