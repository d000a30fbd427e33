"""Implement `tune dashboard`."""

import os
import stat
from collections.abc import Mapping
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import completion
from tuner.cli.arguments import DEFAULT_HOME, STORAGE_VARIABLE, Home, Storage, open_study
from tuner.exceptions import MachineError, UsageError

if TYPE_CHECKING:
    from tuner.dashboard.catalogue import Catalogue
    from tuner.dashboard.server import Address

PASSWORD_VARIABLE = "TUNE_DASHBOARD_PASSWORD"
_LEAST_CHARACTERS = 12


def dashboard(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]",
            help="Name of the study. Default: all studies of --home and --storage.",
            autocompletion=completion.study_names,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than this machine's own need a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
    password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"File whose first line is the password. Default: the value of {PASSWORD_VARIABLE}, if it is set.",
        ),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse notes of users, too.")] = False,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Show studies in Optuna's dashboard, with their results, files and next commands.

    The dashboard changes no study; only notes can be written in it.

    Examples:

        tune dashboard

        tune dashboard strong_aug-my-dataset-mamba-yolo-t --port 8090
    """
    from tuner.dashboard.server import Address, application, serve

    password = _password(password_file)
    address = Address(host=host, port=port)
    if password is None and not address.is_local:
        raise UsageError(
            f"--host {host} lets other machines in, which needs a password, but none is given; "
            f"set {PASSWORD_VARIABLE}, or give --password-file."
        )
    shown = _catalogue(home, storage, study)
    path = "/dashboard" if study is None else f"/dashboard/studies/{shown.study_number(study)}"
    app = application(shown, password, is_read_only=read_only)
    serve(app, address, on_start=lambda: _introduce(address, path, os.environ))


def _catalogue(home: Path, storage: str | None, study: str | None) -> "Catalogue":
    """Return the studies to show, at least one.

    Raises:
        UsageError: There is none.
        StorageError: The named study cannot be read.
    """
    from tuner.dashboard.catalogue import Catalogue
    from tuner.storage.urls import masked

    if study is not None:
        opened, _ = open_study(study, home, storage)
        opened.close()
    os.environ.pop(STORAGE_VARIABLE, None)
    shown = Catalogue(home, storage, study)
    if not shown.names():
        where = f"'{home.absolute()}'" if storage is None else f"'{home.absolute()}' and {masked(storage)}"
        raise UsageError(f"There must be a study to show, but {where} has none yet; start one: tune run --space quick")
    return shown


def _password(file: Path | None) -> str | None:
    """Return the password; None if there is none.

    Raises:
        UsageError: It is too short, or other users can read its file.
        MachineError: The file cannot be read.
    """
    password = os.environ.pop(PASSWORD_VARIABLE, None) if file is None else _read_password(file)
    if password is not None and len(password) < _LEAST_CHARACTERS:
        raise UsageError(
            f"The password of the dashboard must have {_LEAST_CHARACTERS} or more characters, but it has "
            f"{len(password)}; `openssl rand -base64 18` makes one."
        )
    return password


def _read_password(file: Path) -> str:
    try:
        mode = file.stat().st_mode
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise MachineError(f"--password-file must be readable, but '{file}' is not ({reason}).") from error
    if stat.S_IMODE(mode) & 0o077:
        raise UsageError(f"--password-file must be readable by you alone, but '{file}' is not; chmod 600 '{file}'.")
    return lines[0] if lines else ""


def _introduce(address: "Address", path: str, environment: Mapping[str, str]) -> None:
    typer.echo(f"{address.url(path)} (stop it with Ctrl+C)")
    if not address.is_local:
        typer.echo("Requests and the password are not encrypted; docs/dashboard.md shows a proxy that does it.")
    elif "SSH_CONNECTION" in environment:
        typer.echo(f"On your own computer, run: {_tunnel(address, environment['SSH_CONNECTION'])}")


def _tunnel(address: "Address", connection: str) -> str:
    """Return the command that makes the dashboard reachable on the computer that an SSH connection comes from."""
    fields = connection.split()
    server, port = (fields[2], fields[3]) if len(fields) == 4 else ("SERVER", "22")
    other = "" if port == "22" else f"-p {port} "
    target = f"[{address.host}]" if ":" in address.host else address.host
    try:
        user = getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        user = "USER"
    return f"ssh -N {other}-L {address.port}:{target}:{address.port} {user}@{server}"
