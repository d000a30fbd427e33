"""Look for a secret in places where it must not be: in files, and in what other users can see of processes."""

import base64
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import psutil

_CHUNK_BYTES = 1 << 20


def leaks(canary: str, folders: Iterable[Path], pids: Iterable[int]) -> list[str]:
    """List every place that holds the canary, verbatim, URL-encoded or in base64, one line each.

    Args:
        canary: the secret; eight characters or more, so that it occurs nowhere by chance.
        folders: every file below them is searched, and every file name; so are Ray's session folders.
        pids: command lines and environments of these processes and their children; those that end meanwhile or
            belong to another user, are left out.
    """
    assert len(canary) >= 8
    forms = _forms(canary)
    found = [f"file {path}" for folder in {*folders, *ray_sessions()} for path in _files(folder) if _holds(path, forms)]
    for pid in sorted(_with_children(pids)):
        for name in ("cmdline", "environ"):
            try:
                content = Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                continue
            if any(form in content for form in forms):
                found.append(f"{name} of process {pid} ({_name(pid)})")
    return found


def ray_sessions() -> list[Path]:
    """Return the folders in which Ray's sessions on this machine keep logs and sockets."""
    temporary = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()))
    found = {path for parent in ("ray", "tune-*") for path in temporary.glob(f"{parent}/session_*")}
    return sorted(path for path in found if not path.is_symlink())


def _forms(canary: str) -> list[bytes]:
    """Return the forms that programs write the canary in; base64 has three, by its place in groups of three bytes."""
    plain = canary.encode()
    escaped = [quote(canary, safe="").encode(), canary.encode("unicode_escape"), canary.encode("utf-16-le")]
    shifted = [base64.b64encode(b"\0" * shift + plain) for shift in range(3)]
    # The characters at the ends depend on the bytes before and after.
    inner = [code[4 if shift else 0 : -4] for shift, code in enumerate(shifted)]
    return list(dict.fromkeys([plain, *escaped, *inner, *(code.translate(_URL_SAFE) for code in inner)]))


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def _files(folder: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(folder):
        yield from (Path(directory) / name for name in names)


def _holds(path: Path, forms: list[bytes]) -> bool:
    if any(form in os.fsencode(path.name) for form in forms):
        return True
    overlap = max(map(len, forms))
    try:
        if not path.is_file():  # a socket or a pipe
            return False
        with path.open("rb") as file:
            before = b""
            while chunk := file.read(_CHUNK_BYTES):
                if any(form in before + chunk for form in forms):
                    return True
                before = chunk[-overlap:]
    except OSError:  # gone meanwhile
        return False
    return False


def _with_children(pids: Iterable[int]) -> set[int]:
    found = set()
    for pid in pids:
        try:
            found |= {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    return found


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.NoSuchProcess:
        return "gone"
