"""The file that trains again with what a diagnosis changes: `yolo train cfg=next.yaml`."""

import io
from pathlib import Path

from ruamel.yaml import YAML

from tuner.contract import ParamValue
from tuner.contract.run_folder import ARGUMENTS
from tuner.diagnosis.diagnosis import Diagnosis
from tuner.diagnosis.remedies import named_optimizer
from tuner.exceptions import MachineError, UsageError
from tuner.system.atomic_files import write_whole
from tuner.system.printable import printable

_OF_THE_OLD_RUN = frozenset({"cfg", "exist_ok", "name", "project", "resume", "save_dir"})
"""Where the old run wrote, and how it was called: a new one must not write there."""


def next_yaml(diagnosis: Diagnosis) -> str:
    """The file's text: what is changed and why as comments, then all arguments of the run with the changes.

    Raises:
        UsageError: the run's arguments are not known.
    """
    run, changes = diagnosis.run, dict(diagnosis.changes)
    if "optimizer" not in changes:
        changes = {**named_optimizer(run), **changes}
    if not run.params:
        raise UsageError(
            f"--write needs the run's arguments, but there is no args.yaml beside the records of '{run.source}'; "
            "put it there, or give the changes to yolo yourself."
        )
    arguments = {name: value for name, value in run.params.items() if name not in _OF_THE_OLD_RUN}
    if is_resumed(diagnosis) and "model" not in changes:
        del arguments["model"]
    header = [
        f"From the run {run.source}, changed by tune diagnose",
        *(f"{found.condition}: {found.evidence}" for found in diagnosis.findings),
        *(f"{name}: {changed(run.params.get(name), value)}" for name, value in changes.items()),
    ]
    buffer = io.StringIO()
    yaml = YAML()
    yaml.version = (1, 1)  # ultralytics reads it with PyYAML, to which 1e-05 would be a text and `on` a truth
    yaml.default_flow_style = False
    yaml.dump({name: _plain(value) for name, value in {**arguments, **changes}.items()}, buffer)
    return "".join(f"# {printable(line)}\n" for line in header) + buffer.getvalue()


def is_resumed(diagnosis: Diagnosis) -> bool:
    """Whether the run's arguments name its own last.pt as the model: what it began from is not known."""
    return bool(diagnosis.run.params.get("resume", False))


def changed(before: object, after: ParamValue) -> str:
    """A change as one says it; None for a parameter of which nothing is known."""
    return str(after) if before is None else f"{before} -> {after}"


def write_next(text: str, target: Path) -> None:
    """Write the file whole or not at all.

    Raises:
        UsageError: a run's own file has that name, or `yolo` would not take it.
        MachineError: it cannot be written.
    """
    if target.suffix not in {".yaml", ".yml"} or target.name == ARGUMENTS:
        raise UsageError(
            f"--write must be a .yaml file other than the run's own {ARGUMENTS}, but got '{target}'; take next.yaml."
        )
    try:
        write_whole(target, text.encode())
    except OSError as error:
        raise MachineError(
            f"The output file must be writable, but '{target}' is not ({error.strerror}); choose another with --write."
        ) from error


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
