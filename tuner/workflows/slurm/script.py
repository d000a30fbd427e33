"""Write the batch script: the job's options, the arguments of `tune run`, and the fixed parts in bash."""

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner import __version__
from tuner.exceptions import MachineError, UsageError
from tuner.system.atomic_files import write_whole
from tuner.system.printable import printable
from tuner.workflows.slurm.job import WARNING_S, Job

_PARTS = Path(__file__).parent

_SIGNALS, _CLUSTER, _SEARCH = "signals.sh", "cluster.sh", "search.sh"


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """A search that a job runs."""

    arguments: tuple[str, ...]
    """Arguments of `tune run`."""
    python: Path
    """Interpreter with this package, at the same path on all nodes."""
    folder: Path
    """Folder that the arguments are relative to."""
    setup: tuple[str, ...] = ()
    """Commands of bash that prepare the environment."""
    variables: tuple[str, ...] = ()
    """Environment variables that the search needs and that the script must not contain, because they may be secrets."""


def batch_script(job: Job, search: Search) -> str:
    """Return the script that runs a search as a job.

    Raises:
        UsageError: A setup command is not bash, or a path cannot be written in a script.
    """
    for name, path in (("folder", search.folder), ("Python", search.python)):
        if printable(str(path)) != str(path):
            raise UsageError(
                f"The path of the {name} must have no control characters, but got '{printable(str(path))}'; rename it."
            )
    parts = [_head(job, search), _part(_SIGNALS), *map(_setup, search.setup)]
    parts += [_part(_CLUSTER)] if job.nodes > 1 else [_one_node()]
    return "\n".join([*parts, _part(_SEARCH)])


def write_script(text: str, target: Path) -> None:
    """Write the script atomically, as a file that its owner may run and only the owner can read.

    Raises:
        MachineError: The target cannot be written.
    """
    try:
        write_whole(target, text.encode())
        target.chmod(0o700)
    except OSError as error:
        raise MachineError(
            f"The script must be writable, but '{target}' is not ({error.strerror}); choose another with -o."
        ) from error


def _head(job: Job, search: Search) -> str:
    lines = [
        "#!/bin/bash",
        f"# Written by `tune slurm-script` of mamba-yolo-tuner {__version__}. Submit it with sbatch, whose options",
        "# override those below. Run again after a warning, a preemption or a loss of a node, it resumes the search.",
        *(f"#SBATCH {option}" for option in job.directives()),
        f"#SBATCH --requeue --open-mode=append --signal=B:USR1@{WARNING_S}",
        f"#SBATCH --chdir={shlex.quote(str(search.folder))}",
        "",
        f"python={shlex.quote(str(search.python))}",
        "arguments=(",
        *_by_option(search.arguments),
        ")",
        *map(_required, search.variables),
    ]
    return "\n".join(lines) + "\n"


def _by_option(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the quoted arguments, one option with its value per line."""
    line: list[str] = []
    for argument in arguments:
        if line and (argument.startswith("-") or len(line) == 2):
            yield f"    {shlex.join(line)}"
            line = []
        line.append(argument)
    if line:
        yield f"    {shlex.join(line)}"


def _required(variable: str) -> str:
    return (
        f'[ -n "${{{variable}:-}}" ] || {{ echo "{variable} must be set when the job is submitted, as it was when this '
        f'script was written; export it and run sbatch again." >&2; exit 2; }}'
    )


def _setup(command: str) -> str:
    """Return a setup command that ends the job if it fails."""
    checked = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True)
    if checked.returncode != 0 or not command.strip():
        why = printable(checked.stderr.partition("\n")[0] or "it is empty")
        raise UsageError(f"--setup must be a command of bash, but got '{printable(command)}': {why}.")
    return f"{{\n{command}\n}} || {{ echo 'A setup command failed; see its message above.' >&2; exit 5; }}\n"


def _one_node() -> str:
    return (
        '[ "${SLURM_JOB_NUM_NODES:-1}" -eq 1 ] || { echo "This script is for one node, but the job has '
        '$SLURM_JOB_NUM_NODES; write it again with --nodes." >&2; exit 2; }\n'
    )


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")
