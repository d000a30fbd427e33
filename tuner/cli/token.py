"""Implement `tune token`, which creates and ends the tokens of a service's users."""

import getpass
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.arguments import DEFAULT_HOME, Home, Storage
from tuner.exceptions import UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tuner.team_service.accounts import Accounts

app = typer.Typer(help="Create, list and revoke the tokens of `tune serve`.", no_args_is_help=True)

UserName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the user, who owns what the token submits.")]


@app.command()
def add(
    name: UserName,
    role: Annotated[
        str, typer.Option(metavar="read|submit|admin", help="Role: see studies, also submit them, or everything.")
    ],
    expires: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Days until it expires. Default: never.")
    ] = None,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Create a token for a user and print it: it cannot be shown again.

    Examples:

        tune token add ann --role submit --expires 90
    """
    from tuner.team_service.users import Role

    if role not in tuple(Role):
        raise UsageError(f"--role must be read, submit or admin, but got '{role}'.")
    with _opened(home, storage) as accounts:
        text = accounts.tokens.add(name, Role(role), days=expires)
    _note(home, "add a token", name, role)
    typer.echo(text)
    typer.echo(f"Give it to {name} in private; only its hash is kept.", err=True)


@app.command("list")
def list_tokens(
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List all tokens, without their secrets."""
    now = time.time()
    with _opened(home, storage) as accounts:
        tokens = accounts.tokens.tokens()
    rows = [
        {
            "name": token.name,
            "role": token.role.value,
            "state": "valid" if token.is_valid(now) else "expired" if token.revoked is None else "revoked",
            "created": _day(token.created),
            "expires": _day(token.expires),
        }
        for token in tokens
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    elif rows:
        for row in ({column: column for column in rows[0]}, *rows):
            typer.echo(
                f"{row['name']:<24}  {row['role']:<6}  {row['state']:<7}  {row['created']:<10}  {row['expires']}"
            )
    else:
        typer.echo("No tokens yet. Create one: tune token add NAME --role admin", err=True)


@app.command()
def revoke(name: UserName, home: Home = DEFAULT_HOME, storage: Storage = None) -> None:
    """End the token of a user, and the sessions of its browsers, at once."""
    with _opened(home, storage) as accounts:
        accounts.tokens.revoke(name)
    _note(home, "revoke a token", name, "")
    typer.echo(f"the token of {name} is revoked")


def _opened(home: Path, storage: str | None) -> "AbstractContextManager[Accounts]":
    from tuner.team_service.accounts import opened_accounts
    from tuner.team_service.settings import database_of

    return opened_accounts(database_of(home, storage))


def _note(home: Path, did: str, name: str, role: str) -> None:
    from tuner.team_service.audit import AuditLog
    from tuner.team_service.settings import service_folder

    AuditLog(service_folder(home)).note(
        did=did, who=f"{getpass.getuser()} (command line)", role=role, address="local", study=name
    )


def _day(moment: float | None) -> str:
    return "never" if moment is None else datetime.fromtimestamp(moment, UTC).date().isoformat()
