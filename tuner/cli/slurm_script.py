"""Implement `tune slurm-script`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.arguments import data_source, hooks_of, machines, model_source
from tuner.cli.passed_on import checked_search, parsed_run, variables_of
from tuner.exceptions import StorageError, UsageError

if TYPE_CHECKING:
    from tuner.workflows.slurm.job import Job


def slurm_script(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- ARGUMENTS", help="Arguments of `tune run`, after --.")
    ] = None,
    nodes: Annotated[int, typer.Option("--nodes", "-N", min=1, help="Nodes of the job.")] = 1,
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            "-G",
            metavar="[TYPE:]N",
            help="GPUs of the job in total; the nodes may have different numbers of them. Default: no request.",
        ),
    ] = None,
    gpus_per_node: Annotated[
        str | None, typer.Option(metavar="[TYPE:]N", help="GPUs of each node, instead of --gpus.")
    ] = None,
    cpus_per_task: Annotated[
        int | None, typer.Option("--cpus-per-task", "-c", min=1, metavar="N", help="CPUs of each node.")
    ] = None,
    mem: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory of each node, for example 64G.")] = None,
    time: Annotated[
        str | None,
        typer.Option(
            "--time",
            "-t",
            metavar="TIME",
            help="Time limit, for example 12:00:00. 90 seconds before it, the search stops and the job is requeued.",
        ),
    ] = None,
    partition: Annotated[str | None, typer.Option("--partition", "-p", metavar="NAME", help="Partition.")] = None,
    account: Annotated[str | None, typer.Option("--account", "-A", metavar="NAME", help="Account to charge.")] = None,
    qos: Annotated[str | None, typer.Option("--qos", "-q", metavar="NAME", help="Quality of service.")] = None,
    constraint: Annotated[
        str | None, typer.Option("--constraint", "-C", metavar="FEATURES", help="Features that the nodes must have.")
    ] = None,
    job_name: Annotated[
        str | None,
        typer.Option("--job-name", "-J", metavar="NAME", help="Name of the job. Default: that of --study, or tune."),
    ] = None,
    setup: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COMMAND",
            help="Command of bash to run before the search, for example 'module load cuda'; may be repeated.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="File to write. Default: standard output.")
    ] = None,
) -> None:
    """Write a batch script for SLURM that runs a search and resumes it after every interruption.

    The arguments of `tune run` are checked now. Options that are missing here can be given to sbatch.

    Examples:

        tune slurm-script --gpus-per-node 8 -c 64 --time 12:00:00 -o search.sh -- --space strong_aug --data my/data.yaml

        tune slurm-script --nodes 3 --gpus 10 -c 32 --setup 'module load cuda' -o search.sh -- --space strong_aug
    """
    from tuner.workflows.slurm.job import Job
    from tuner.workflows.slurm.script import Search, batch_script, write_script

    given, variables = _parsed(arguments or [])
    job = Job(
        name=job_name or given["study"] or "tune",
        nodes=nodes,
        gpus=gpus,
        gpus_per_node=gpus_per_node,
        cpus_per_task=cpus_per_task,
        mem=mem,
        time=time,
        partition=partition,
        account=account,
        qos=qos,
        constraint=constraint,
    )
    _check_search(given, job)
    search = Search(
        arguments=tuple(arguments or ()),
        python=Path(sys.executable),
        folder=Path.cwd(),
        setup=tuple(setup or ()),
        variables=variables,
    )
    text = batch_script(job, search)
    for note in _notes(given, job, variables):
        typer.echo(f"note: {note}", err=True)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_script(text, output)
        typer.echo(output)


def _parsed(arguments: list[str]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Parse the arguments of `tune run`.

    Returns:
        The values of the options, and the environment variables that some of them come from.
    """
    if not arguments:
        raise UsageError(
            "The arguments of `tune run` are required after --, but none are given; add for example "
            "-- --space strong_aug --data my/dataset.yaml."
        )
    given, sources = parsed_run(arguments, "tune run")
    return given, variables_of(sources)


def _check_search(given: Mapping[str, Any], job: "Job") -> None:
    """Check all that `tune run` checks before it needs a trainer, a database or Ray.

    Raises:
        TunerError: As `tune run` would, or because the options and the job contradict each other.
    """
    if given["address"] is not None:
        raise UsageError(
            "The script starts the Ray cluster of the job itself, so --address must not be given to `tune run`, but "
            f"got '{given['address']}'; leave it out."
        )
    space = checked_search(given)
    hooks_of(given["on_end"], given["notify"])
    data_source(given["data"] or space.data)
    if model := given["model"] or space.model:
        model_source(model)
    listed = _checked_gpus(given["gpus"], job)
    machines(
        None if listed else given["gpus"],
        given["parallel"],
        "auto" if job.nodes > 1 else None,
        given["trainer"],
        given["hang_after"],
        given["start_within"],
        given["cache_gib"],
        given["trials_per_gpu"],
    )
    _check_database(given)


def _checked_gpus(text: str | None, job: "Job") -> bool:
    """Check the value of `--gpus` of `tune run` against the job; return whether it is a list of GPUs."""
    from tuner.execution.visible_gpus import parsed_choice

    choice = parsed_choice(text)
    if isinstance(choice, tuple) and job.nodes > 1:
        raise UsageError(
            f"--gpus of `tune run` must be a number on several nodes, because Ray assigns the GPUs, but got '{text}'."
        )
    wanted = max(map(int, choice)) + 1 if isinstance(choice, tuple) else choice
    if job.num_gpus is not None and wanted == 0:
        raise UsageError(
            f"--gpus 0 of `tune run` trains on the CPU, but the job asks for {job.num_gpus} GPUs; leave out one of "
            "these options."
        )
    if job.num_gpus is not None and wanted is not None and wanted > job.num_gpus:
        raise UsageError(
            f"--gpus of `tune run` must be at most the number of GPUs of the job, {job.num_gpus}, but got '{text}'; "
            "leave it out to use all of them."
        )
    return isinstance(choice, tuple)


def _check_database(given: Mapping[str, Any]) -> None:
    """Refuse an SQLite file on a network file system here, as `tune run` would on the node."""
    from tuner.storage.database import network_problem
    from tuner.system.filesystems import file_system, is_network

    kind = file_system(given["home"])
    if given["storage"] is None and is_network(kind):
        raise StorageError(network_problem(given["home"], kind))


def _notes(given: Mapping[str, Any], job: "Job", variables: tuple[str, ...]) -> list[str]:
    """Say what the script needs and cannot check."""
    notes = []
    if variables:
        notes.append(f"the script does not contain {', '.join(variables)}; submit it where they are set")
    if given["storage"] is None:
        notes.append(
            "without --storage or TUNE_STORAGE, the study stays on the disk of one machine, and the job resumes only "
            "there (sbatch --nodelist=NODE)"
        )
    if job.nodes > 1 and job.num_gpus is None and given["parallel"] is None:
        notes.append("on nodes without GPUs, give `tune run` the number of trials at once with --parallel")
    return notes
