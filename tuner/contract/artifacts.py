"""Define how the files of a run lie in a store, for machines that share no folder.

A store is a folder of any file system that fsspec knows: a path that all machines mount, or a URL such as s3://bucket.
The folder of a run, `TrainRequest.artifacts`, holds

    <attempt, 12 digits>.json    manifest of an attempt: the names and digests of the run's files
    objects/<SHA-256>            contents of these files

**Whole files.** An object is named after its content and never changes. A manifest is replaced as a whole, after all of
its objects are there. So what a manifest names is complete, and a damaged object does not match its name.

**Attempts.** The manifest of the highest attempt counts. An attempt first writes a manifest without files, its claim,
then reads the manifests before it. Before it writes a manifest, and again before it removes what its last manifest does
not name, it looks for a higher attempt, and ends if there is one. So a machine that was cut off and comes back neither
replaces nor removes what a later attempt resumes from. When the tuner removes a run, it leaves the claim
`LAST_ATTEMPT`, above all others.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from tuner.contract.codec import ContractError

OBJECTS = "objects"
"""Folder with the contents, in the folder of a run."""

LAST_ATTEMPT = 999_999_999_999
"""Attempt at a run that was removed, and must not come back."""

_FORMAT = 1
_MANIFEST = re.compile(r"(\d{12})\.json")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*){0,2}")
"""Names below the folder of a run: never absolute, hidden, or above it."""

_LARGEST_MANIFEST = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Files of a run as an attempt has left them in the store."""

    attempt: int
    """Number of the attempt (see `TrainRequest.attempt`)."""
    epoch: int = 0
    """Last trained epoch of these files, 1-based; 0 before the first."""
    ended: bool = False
    """True if the attempt has ended, and has pushed all of its files."""
    files: Mapping[str, str] | None = None
    """SHA-256 of each file by its name below the run's folder; None for a claim."""


def manifest_name(attempt: int) -> str:
    """Return the name of the manifest of an attempt."""
    return f"{attempt:012d}.json"


def attempt_of(name: str) -> int | None:
    """Return the attempt of a manifest by its file name; None for any other file."""
    found = _MANIFEST.fullmatch(name)
    return int(found[1]) if found else None


def is_stored_name(name: str) -> bool:
    """Check whether a file of this name below a run's folder can be in a manifest."""
    return _NAME.fullmatch(name) is not None


def encode_manifest(manifest: Manifest) -> bytes:
    """Write a manifest as JSON."""
    return json.dumps({"format": _FORMAT, **asdict(manifest)}, indent=1).encode()


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest, which anyone who can write to the store may have changed.

    Raises:
        ContractError: It is not a manifest, or names a file outside of the run's folder.
    """
    try:
        body = json.loads(data[:_LARGEST_MANIFEST])
        manifest = Manifest(
            attempt=int(body["attempt"]),
            epoch=int(body["epoch"]),
            ended=bool(body["ended"]),
            files=None if body["files"] is None else dict(body["files"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ContractError(f"A manifest must be JSON with attempt, epoch and files, but got {data[:80]!r}.") from error
    if body.get("format") != _FORMAT:
        raise ContractError(f"A manifest must have format {_FORMAT}, but got {body.get('format')!r:.80}.")
    for name, digest in (manifest.files or {}).items():
        if not is_stored_name(name) or not _DIGEST.fullmatch(str(digest)):
            raise ContractError(f"A manifest must name files below its run by digest, but got {name!r:.80}.")
    return manifest
