"""Write the arguments of the next run, with the changes of a diagnosis: `yolo train cfg=next.yaml`."""

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
"""Arguments with the location and name of the old run, which the next run must not overwrite."""


def next_yaml(diagnosis: Diagnosis) -> str:
    """Return the text of the file: the changes and their reasons as comments, then all arguments of the next run.

    Raises:
        UsageError: the arguments of the run are unknown.
    """
    run, changes = diagnosis.run, dict(diagnosis.changes)
    if "optimizer" not in changes:
        changes = {**named_optimizer(run), **changes}
    if not run.params:
        raise UsageError(
            f"--write needs the run's arguments, but there is no args.yaml next to the records of '{run.source}'; "
            "put it there, or pass the changes to yolo yourself."
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
    yaml.version = (1, 1)  # ultralytics reads it with PyYAML, which takes 1e-05 for a string and `on` for true
    yaml.default_flow_style = False
    yaml.dump({name: _plain(value) for name, value in {**arguments, **changes}.items()}, buffer)
    return "".join(f"# {printable(line)}\n" for line in header) + buffer.getvalue()


def is_resumed(diagnosis: Diagnosis) -> bool:
    """Check whether the run was resumed: its model is then its own last.pt, and its initial weights are unknown."""
    return bool(diagnosis.run.params.get("resume", False))


def changed(before: object, after: ParamValue) -> str:
    """Describe a change of an argument; `before` is None if the old value is unknown."""
    return str(after) if before is None else f"{before} -> {after}"


def write_next(text: str, target: Path) -> None:
    """Write the file atomically.

    Raises:
        UsageError: the name belongs to a run's own file, or `yolo` would not accept it.
        MachineError: the file cannot be written.
    """
    if target.suffix not in {".yaml", ".yml"} or target.name == ARGUMENTS:
        raise UsageError(
            f"--write must be a .yaml file other than the run's own {ARGUMENTS}, but got '{target}'; use next.yaml."
        )
    try:
        write_whole(target, text.encode())
    except OSError as error:
        raise MachineError(
            f"The output file must be writable, but '{target}' is not ({error.strerror}); choose another with --write."
        ) from error


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
