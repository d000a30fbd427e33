"""Check the place of a store, as the user gives it."""

from pathlib import Path
from urllib.parse import urlsplit

from tuner.contract.locations import is_url, without_credentials
from tuner.exceptions import UsageError

VARIABLE = "TUNE_ARTIFACTS"


def checked_place(given: str, option: str = "--artifacts") -> str:
    """Return the URL of a store, or the absolute path of a folder.

    Args:
        given: URL or path.
        option: Option that the user gave it with.

    Raises:
        UsageError: The URL contains credentials, which every process of the cluster would see, or names no folder.
    """
    if not is_url(given):
        return str(Path(given).absolute())
    parts = urlsplit(given)
    if parts.username is not None or parts.password is not None or parts.query:
        raise UsageError(
            f"{option} must contain no user, password or query, but got '{without_credentials(given)}' with one; put "
            "credentials into the environment of each machine, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if not parts.netloc and not parts.path.strip("/"):
        raise UsageError(f"{option} must name a folder, such as s3://bucket/team, but got '{given}'.")
    return given.rstrip("/")
