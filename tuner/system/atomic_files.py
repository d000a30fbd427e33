"""Files written whole or not at all."""

import contextlib
import os
import secrets
from pathlib import Path


def write_whole(target: Path, content: bytes) -> None:
    """Write a file in the place of what may be there.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    # A name that nobody can foresee, and "x": in a shared folder it could be laid out as a link to a file of ours.
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
