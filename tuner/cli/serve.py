"""Implement `tune serve`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.arguments import DEFAULT_HOME, STORAGE_VARIABLE, Home, Storage
from tuner.cli.submit import Cluster
from tuner.exceptions import MachineError

if TYPE_CHECKING:
    from tuner.dashboard.server import Address

_MISSING = "The service needs packages that are not installed: pip install 'mamba-yolo-tuner[serve]'."


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than this machine's own need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses a free one.")] = 8700,
    cluster: Cluster = None,
    data_root: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder below which submitted data sets and models must lie, on this machine and on the cluster; may "
            "be repeated. Default: only the bundled sample data set, and models by name.",
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Show users only their own studies; administrators see all.")
    ] = False,
    proxy: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Address of a TLS proxy whose headers about the sender to believe."),
    ] = None,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Serve the studies of a team: a web page, a REST interface and a queue behind one URL.

    Users log in with tokens, which `tune token add` creates. It ends in order with Ctrl+C or SIGTERM.

    Examples:

        tune token add ann --role admin

        tune serve --cluster http://head:8265 --data-root /shared/data
    """
    try:
        from tuner.team_service import server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "tuner":
            raise
        raise MachineError(_MISSING) from error
    from tuner.dashboard.server import Address
    from tuner.team_service.settings import ServiceSettings, resolved_roots

    os.environ.pop(STORAGE_VARIABLE, None)  # child processes do not need it
    settings = ServiceSettings(
        home=home.absolute(),
        storage=storage or None,
        cluster=cluster,
        data_roots=resolved_roots(tuple(data_root or ())),
        is_private=private,
    )
    if not Address(host=host, port=port).is_local:
        server.refuse_without_token(settings, host)
    with server.bound(host, port) as listening:
        address = Address(host=host, port=int(listening.getsockname()[1]))
        server.serve(settings, listening, proxy, on_start=lambda: _introduce(address, proxy))


def _introduce(address: "Address", proxy: str | None) -> None:
    typer.echo(f"{address.url('/')} (stop it with Ctrl+C)")
    if not address.is_local and proxy is None:
        typer.echo("Requests and tokens are not encrypted; docs/service.md shows a proxy that does it.")
