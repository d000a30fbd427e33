"""Explain the errors of starting or joining Ray, with a remedy for each."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.exceptions import MachineError

_LONGEST = 400
"""Maximum length of an unknown message, in characters."""

_CONTEXT = 80
"""Number of characters to quote on both sides of the known part of a message."""

_TAIL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class _Known:
    """Known error: the pattern in Ray's message or a server's log, its meaning and its remedy."""

    says: str
    means: str
    remedy: str


_STARTING = (
    _Known(
        r"AF_UNIX path length|File ?name too long",
        "the path of its temporary folder is too long for Unix sockets",
        "set TMPDIR to a folder with a short path, such as /tmp",
    ),
    _Known(
        r"Too many open files|\[Errno (23|24)\]",
        "the limit on open files is too low",
        "raise it (`ulimit -n 4096` or more) and run the command again",
    ),
    _Known(
        r"No space left on device|Disk quota exceeded|\[Errno (28|122)\]",
        "the disk of its temporary folder is full",
        "free disk space there, or set TMPDIR to a folder on another disk",
    ),
    _Known(
        r"Resource temporarily unavailable|can't start new thread|pthread_create|\[Errno 11\]",
        "the limit on processes and threads is too low",
        "raise it (`ulimit -u 4096` or more) or the limit of the container (pids), and run the command again",
    ),
    _Known(
        r"Cannot allocate memory|bad_alloc|memory on this node available|MemoryError|\[Errno 12\]",
        "there is too little memory",
        "close other programs, or raise the limit of the container or job (and `ulimit -v`), and run the command again",
    ),
    _Known(
        r"/dev/shm|plasma directory|object store",
        "there is too little shared memory",
        "give /dev/shm at least 128 MiB: `docker run --shm-size=2g`, or in Kubernetes an emptyDir of `medium: Memory`",
    ),
    _Known(
        r"Address already in use|ports? \S+ is (already )?in use|[Tt]he specified port is \d+|\[Errno 98\]",
        "a port that it needs is already in use",
        "unset RAY_GCS_SERVER_PORT and other variables that set its ports, or stop the program that uses the port",
    ),
    _Known(
        r"Permission denied|Read-only file system|Operation not permitted|\[Errno (1|13|30)\]",
        "it cannot write to its temporary folder, or run its own programs",
        "set TMPDIR to a writable folder, and keep the Python environment on a disk without noexec",
    ),
    _Known(
        r"GLIBC|Exec format error|cannot open shared object|No such file or directory: '[^']*(gcs_server|raylet)'",
        "its programs do not run on this machine",
        "reinstall it for this system: `pip install --force-reinstall ray`",
    ),
)
"""Known errors when Ray starts; the first match counts, so more specific patterns come first."""

_JOINING = (
    _Known(
        r"[Vv]ersion mismatch",
        "it runs another version of Ray or Python than this command",
        "install the same versions on all machines",
    ),
    _Known(
        r"[Aa]uthenticat|[Uu]nauthorized|token",
        "it requires a token, or does not accept the token of this command",
        "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token of the cluster",
    ),
    _Known(
        r"Could not find any running Ray instance",
        "no cluster runs on this machine",
        "start one with `ray start --head`, give its host:port, or leave --address out",
    ),
    _Known(
        r"[Mm]alformed address|Invalid address|Unable to parse|must be a|ray://|Expected '<host>",
        "this is not the address of a cluster",
        "give host:port (port 6379 by default), or auto for the cluster on this machine",
    ),
    _Known(
        r"Name or service not known|name resolution|No address associated|nodename nor servname",
        "the host name is unknown",
        "correct the name, or give an IP address",
    ),
    _Known(
        r"Connection refused|timed out|TimedOut|No route|unreachable|reset by peer|Failed to connect|GCS",
        "no Ray cluster answers at this address",
        "check on its head node that it runs (`ray status`) and on which port (6379 by default, not the dashboard's "
        "8265), and that no firewall blocks it",
    ),
)


def failed_start(error: Exception, folder: Path) -> MachineError:
    """Explain why Ray cannot be started.

    Args:
        error: Error that Ray raised. A server that does not start in time gives the reason only in its log.
        folder: Folder with Ray's logs.
    """
    return _problem("Ray cannot be started on this machine", _STARTING, [_said(error), *_logged(folder)])


def failed_join(error: Exception, address: str) -> MachineError:
    """Explain why the cluster at an address cannot be joined."""
    return _problem(f"The Ray cluster at '{address}' cannot be joined", _JOINING, [_said(error)])


def _problem(what: str, table: Iterable[_Known], texts: Sequence[str]) -> MachineError:
    """Explain an error by the first entry that matches; the error's own text comes first, before the logs."""
    for text in texts:
        for known in table:
            if found := re.search(known.says, text):
                return MachineError(f"{what}: {known.means} ({_around(found)}); {known.remedy}.")
    more = f"; its log: {texts[1][:_LONGEST]}" if texts[1:] else ""
    return MachineError(f"{what}: {texts[0][:_LONGEST]}{more}. Run `tune doctor` to check the machine.")


def _around(found: re.Match[str]) -> str:
    """Quote the match with the text around it."""
    text = found.string
    start, end = max(found.start() - _CONTEXT, 0), min(found.end() + _CONTEXT, len(text))
    return f"{'...' * (start > 0)}{text[start:end].strip()}{'...' * (end < len(text))}"


def _said(error: BaseException) -> str:
    """Join the messages of an error and its causes on one line."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(parts) < 4:
        parts.append(" ".join(str(cause).split()) or type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    return "; ".join(dict.fromkeys(parts))


def _logged(folder: Path) -> Iterator[str]:
    """Yield the last errors in the logs of Ray's servers."""
    for log in sorted(folder.glob("session_latest/logs/*.err")):
        try:
            with log.open("rb") as file:
                file.seek(max(log.stat().st_size - _TAIL_BYTES, 0))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            continue
        yield from (line.strip() for line in lines if re.search(r" [EFC] \d+|[Ee]rror|exception", line))
