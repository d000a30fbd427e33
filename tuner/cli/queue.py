"""Implement `tune queue`, `tune logs` and `tune stop`."""

import json
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tuner.cli.submit import Cluster

QueuedStudy = Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study, as listed by `tune queue`.")]


def queue(
    cluster: Cluster = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="List the studies that are over, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the studies of a queue, with the GPUs that each may hold now."""
    from rich.console import Console

    from tuner.report.queue import queue_table
    from tuner.study_queue.client import QueueClient

    entries = QueueClient(cluster).entries(all_of_them=all_of_them)
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
        return
    Console().print(queue_table(entries, time.time()))


def logs(
    study: QueuedStudy,
    cluster: Cluster = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Print new lines until the driver ends.")] = True,
) -> None:
    """Print what the driver of a queued study prints."""
    from tuner.exceptions import UsageError
    from tuner.study_queue.client import QueueClient

    client = QueueClient(cluster)
    entry: Mapping[str, Any] = client.entry(study)
    if not entry["job"]:
        raise UsageError(f"The study '{study}' has no log yet: it waits for GPUs; `tune queue` lists it.")
    if not follow:
        typer.echo(client.log(entry["job"]), nl=False)
        return
    for text in client.lines(entry["job"]):
        typer.echo(text, nl=False)


def stop(study: QueuedStudy, cluster: Cluster = None) -> None:
    """Stop a queued study; submit it again to resume it.

    Its trials keep their checkpoints, and its GPUs go to the other studies.
    """
    from tuner.study_queue.client import QueueClient

    entry = QueueClient(cluster).stop(study)
    typer.echo(f"study {study} {'is stopping' if entry['state'] == 'stopping' else 'is stopped'}")
