"""Implement `tune dashboard`."""

import socket
from typing import Annotated

import typer

from tuner.cli.arguments import DEFAULT_HOME, Home, Storage, StudyName, open_study
from tuner.exceptions import MachineError


def dashboard(
    study: StudyName,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Local port of the dashboard.")] = 8080,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Show a study in the Optuna dashboard.

    The dashboard is available on this machine only, because it has no passwords and can delete studies.
    """
    opened, _ = open_study(study, home, storage)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise MachineError(
                f"--port must be free, but {port} is not ({error.strerror}); choose another port."
            ) from error
    typer.echo(f"http://127.0.0.1:{port}/dashboard (stop it with Ctrl+C)")
    from optuna_dashboard import run_server  # takes a second to import

    run_server(opened.storage, host="127.0.0.1", port=port)
