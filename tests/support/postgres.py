"""Start a separate PostgreSQL server from the installed programs, for tests of databases and of faults.

It listens on 127.0.0.1 alone, asks for a password, and is gone, its folder too, when its process ends, however that
ends: a guard in a process of its own waits for that.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

import psutil

_PROGRAMS = ("initdb", "postgres")
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 10


class PostgresMissing(Exception):  # noqa: N818 - a state of the machine, which tests skip for
    """A server cannot be started here; the text says why."""


def programs() -> Path:
    """Return the folder of PostgreSQL's programs.

    Raises:
        PostgresMissing: there is none.
    """
    for folder in _places():
        if all(os.access(folder / name, os.X_OK) for name in _PROGRAMS):
            return folder
    raise PostgresMissing(
        f"PostgreSQL's programs ({', '.join(_PROGRAMS)}) are not installed: apt-get install postgresql"
    )


def _places() -> Iterator[Path]:
    found = shutil.which("postgres")
    if found is not None:
        yield Path(found).resolve().parent
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        yield Path(subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=lambda folder: float(folder.parent.name), reverse=True)


def _account() -> str | None:
    """Return the user to run the server as, None for the current one. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise PostgresMissing("PostgreSQL does not run as root, and there is neither a user 'postgres' nor 'nobody'")


class PostgresServer:
    """A cluster in a temporary folder and its server, running from the start until `close`.

    Raises:
        PostgresMissing: the programs are not installed.
    """

    user = "tuner"

    def __init__(self, address: str = "127.0.0.1") -> None:
        """Start a server.

        Args:
            address: an address of this machine to listen on; it accepts clients of the same /24 network.
        """
        self._address = address
        self._programs = programs()
        self._account = _account()
        self.password = secrets.token_hex(16)
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        guard = [sys.executable, __file__, str(self.folder)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)
        self._server: subprocess.Popen[bytes] | None = None
        try:
            self._make_cluster()
            self.port = _free_port()
            self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process ID of the postmaster.

        Raises:
            RuntimeError: it has been stopped.
        """
        if self._server is None:
            raise RuntimeError("the server is stopped")
        return self._server.pid

    def url(self, database: str = "postgres", *, user: str = user, password: str | None = None) -> str:
        """Return the URL of a database, with the password of the server's owner by default."""
        return f"postgresql://{user}:{password or self.password}@{self._address}:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database, and return its URL."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement by itself, and return its rows."""
        import psycopg  # an extra: without it, this module can still find out whether there is a server

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start the server at its previous port, and return when it answers.

        Raises:
            RuntimeError: it ends at once, or does not answer within a minute.
        """
        with (self.folder / "log").open("ab") as log:
            self._server = self._spawn("postgres", "-D", str(self._data), "-p", str(self.port), log=log)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._is_ready():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop_immediately(self) -> None:
        """Crash: cut connections and write nothing; `start` recovers. Committed data stay."""
        self._stop(signal.SIGQUIT)

    def freeze(self, *, backends: bool = True) -> None:
        """Let it hang: connections stay open without an answer. Without `backends`, only new ones get no answer."""
        children = psutil.Process(self.pid).children() if backends else []
        os.kill(self.pid, signal.SIGSTOP)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.suspend()

    def thaw(self) -> None:
        """Continue after `freeze`."""
        for process in (*psutil.Process(self.pid).children(), psutil.Process(self.pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def terminate_backends(self) -> int:
        """Cut all connections of clients, and return their number."""
        cut = self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return len(cut)

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self._stop(signal.SIGQUIT)
        self._guard.communicate()  # it finds no server left to kill, and removes the folder

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _make_cluster(self) -> None:
        if self._account is not None:
            shutil.chown(self.folder, self._account)
        password = self.folder / "password"
        password.touch(mode=0o644)  # the folder itself is closed to others
        password.write_text(self.password)
        options = ["--username", self.user, "--auth", "scram-sha-256", "--pwfile", str(password)]
        options += ["--no-sync", "--no-locale", "--encoding", "UTF8", "--pgdata", str(self._data)]
        with (self.folder / "log").open("ab") as log:
            made = self._spawn("initdb", *options, log=log)
            if made.wait() != 0:
                raise RuntimeError(f"initdb failed: {(self.folder / 'log').read_text()[-2000:]}")
        password.unlink()
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '{self._address}'\nunix_socket_directories = ''\nmax_connections = 60\n"
                "shared_buffers = 16MB\nfsync = off\nfull_page_writes = off\n"  # a crash of the server loses nothing
            )

        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {self._address}/24 scram-sha-256\n")

    def _spawn(self, program: str, *arguments: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [str(self._programs / program), *arguments]
        return subprocess.Popen(
            command,
            user=self._account,
            group=pwd.getpwnam(self._account).pw_gid if self._account else None,
            extra_groups=[] if self._account else None,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl+C is for us
        )

    def _is_ready(self) -> bool:
        """Return whether the file of the server has its PID in line 1 and says in line 8 that it is ready."""
        with contextlib.suppress(OSError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"
        return False

    def _stop(self, signum: int) -> None:
        if self._server is None:
            return
        if self._server.poll() is None:
            self.thaw()
            self._server.send_signal(signum)
            try:
                self._server.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                _kill(self._server.pid)
                self._server.wait()
        self._server = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _kill(postmaster: int) -> None:
    """Return the postmaster and its children, frozen or not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(postmaster)
        if parent.name() != "postgres":
            return  # another process has got the number
        for process in (parent, *parent.children()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _guard(folder: Path) -> None:
    """Wait until the other end of standard input closes; then leave nothing behind."""
    sys.stdin.read()
    with contextlib.suppress(OSError, IndexError, ValueError):
        _kill(int((folder / "data" / "postmaster.pid").read_text().splitlines()[0]))
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)  # a dying backend may still write
        time.sleep(0.02)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
