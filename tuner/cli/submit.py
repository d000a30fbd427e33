"""Implement `tune submit`."""

import getpass
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.passed_on import checked_search, parsed_run
from tuner.cli.run import default_study_name
from tuner.contract.locations import is_url
from tuner.exceptions import UsageError

if TYPE_CHECKING:
    from tuner.space import Space

REST = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Settings of a command that passes its other arguments on."""

Cluster = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS",
        metavar="URL",
        help="Jobs API of the Ray cluster, such as http://head:8265. Default: the cluster on this machine.",
    ),
]

_CLUSTERS_OWN = {
    "address": "the driver runs on the cluster",
    "storage": "set TUNE_STORAGE where `ray start` runs",
    "home": "set TUNE_HOME where `ray start` runs",
    "on_end": "set TUNE_ON_END where `ray start` runs",
    "notify": "set TUNE_NOTIFY where `ray start` runs",
    "dry_run": "run it on a machine of the cluster",
    "plain": "the driver has no terminal",
}
"""Options of `tune run` that a submission cannot have, with the reason or the remedy."""


def submit(
    context: typer.Context,
    cluster: Cluster = None,
    priority: Annotated[
        int, typer.Option(help="Priority, -100 to 100; studies of a higher one get their GPUs first.")
    ] = 0,
) -> None:
    """Queue a study on a Ray cluster; takes the options of `tune run` as well.

    The study shares the GPUs of the cluster with the others of the queue, and holds at most --gpus of them. The space
    file is sent; all other paths are those of the cluster.

    Examples:

        tune submit --space strong_aug.yaml --data /shared/my/dataset.yaml --gpus 4

        tune submit --cluster http://head:8265 --priority 5 --space quick
    """
    from tuner.study_queue.client import QueueClient
    from tuner.study_queue.entries import Submission

    given = _parsed(context.args)
    space = checked_search(given)
    submission = Submission(
        study=_study(given, space),
        owner=getpass.getuser(),
        space_name=space.name,
        space=_text_of_space(given),
        arguments=_passed_on(context.args),
        priority=priority,
        most=_most(given),
    )
    entry = QueueClient(cluster).submit(submission)
    typer.echo(
        f"study {entry['study']} is in the queue; `tune queue` lists it, `tune logs {entry['study']}` follows it"
    )


def _parsed(arguments: list[str]) -> Mapping[str, Any]:
    """Parse the arguments of `tune run`.

    Raises:
        UsageError: An option cannot be submitted.
    """
    given, sources = parsed_run(arguments, "tune submit")
    for name, remedy in _CLUSTERS_OWN.items():
        if sources.get(name) == "COMMANDLINE":
            raise UsageError(f"`tune submit` has no option --{name.replace('_', '-')}: {remedy}.")
    return given


def _text_of_space(given: Mapping[str, Any]) -> str:
    from tuner.space import find_space

    return Path(find_space(given["space"], Path.cwd())).read_text(encoding="utf-8")


def _study(given: Mapping[str, Any], space: "Space") -> str:
    """Return the name of the study, and check the places that the cluster must find."""
    data, model = given["data"] or space.data, given["model"] or space.model
    if data is None:
        raise UsageError(
            "A data set is required, but none is given; add --data /shared/dataset.yaml, or --data sample."
        )
    if not data.startswith(("/", "sample")) and not is_url(data):
        raise UsageError(f"--data must be a URL, or an absolute path on the cluster, but got '{data}'.")
    if model is not None and not model.startswith("/") and ("/" in model or Path(model).suffix == ".pt"):
        raise UsageError(f"--model must be a name or an absolute path on the cluster, but got '{model}'.")
    for source in given["warm_start"] or ():
        if "/" in source and not source.startswith("/"):
            raise UsageError(f"--warm-start must be a study or an absolute path on the cluster, but got '{source}'.")
    if given["study"] is not None:
        return str(given["study"])
    return default_study_name(space.name, data, model or "auto")


def _most(given: Mapping[str, Any]) -> int | None:
    """Return the maximum number of devices that the study may hold; None for all."""
    gpus, sharing = given["gpus"], given["trials_per_gpu"]
    parallel: int | None = given["parallel"]
    if gpus is not None:
        if not gpus.isdecimal() or int(gpus) < 1:
            raise UsageError(
                f"--gpus must be a number from 1 in a queue, but got '{gpus}': the cluster chooses the GPUs; leave it "
                "out for all."
            )
        return int(gpus)
    if parallel is None or sharing == "auto":
        return None
    return math.ceil(parallel / max(1, int(sharing)))


def _passed_on(arguments: list[str]) -> tuple[str, ...]:
    """Return the arguments without the space and the name of the study, which the submission has itself."""
    kept: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, has_value, _ = argument.partition("=")
        if name not in ("--space", "--study"):
            kept.append(argument)
        elif not has_value:
            rest.pop(0)
    return tuple(kept)
