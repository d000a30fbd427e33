"""Translate the arguments of the Python API to those of the command line."""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tuner.cli.arguments import DEFAULT_HOME, NOTIFY_VARIABLE, ON_END_VARIABLE, STORAGE_VARIABLE
from tuner.exceptions import SpaceError
from tuner.python_api._driver import Progress, drive

Name = str | Path
"""Path, or a name that stands for one."""

_SECRETS = {"storage": STORAGE_VARIABLE, "notify": NOTIFY_VARIABLE, "on_end": ON_END_VARIABLE}
"""Options that may contain secrets, which other users of the machine must not see in the list of processes."""


def home_folder(home: Name | None) -> Path:
    return Path(home or os.environ.get("TUNE_HOME") or DEFAULT_HOME)


_OPPOSITES = {"promote": "no-promote", "promote_deterministic": "promote-fast", "deterministic": "fast"}
"""Flags for False, of the options that have one."""


def drive_verb(verb: str, options: Mapping[str, object], progress: Progress, *arguments: str) -> None:
    """Run a verb with the options that are set."""
    hidden = {
        variable: value if isinstance(value, str) else " ".join(map(str, value))
        for option, variable in _SECRETS.items()
        if isinstance(value := options.get(option), (str, list, tuple)) and value
    }
    shown = [
        part for option, value in options.items() if option not in _SECRETS for part in option_arguments(option, value)
    ]
    drive([verb, *arguments, *shown], progress, hidden)


def option_arguments(option: str, value: object) -> Iterator[str]:
    """Yield an option as the command line takes it: nothing for None, one flag for a truth value."""
    name = "set" if option == "settings" else option.replace("_", "-")
    if value is None:
        return
    if isinstance(value, bool):
        if value:
            yield f"--{name}"
        elif option in _OPPOSITES:
            yield f"--{_OPPOSITES[option]}"
    elif option == "rungs" and isinstance(value, Sequence):
        yield f"--{name}={','.join(map(str, value))}"
    elif option == "gpus" and isinstance(value, Sequence) and not isinstance(value, str):
        yield f"--{name}={','.join(map(str, value))}{',' if len(value) == 1 else ''}"
    elif isinstance(value, Mapping):
        yield from (f"--{name}={key}={_text(part)}" for key, part in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from (f"--{name}={part}" for part in value)
    else:
        yield f"--{name}={_text(value)}"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def space_file(space: Name | Mapping[str, object], study: str | None) -> Iterator[str]:
    """Write a space that is given as a mapping to a file for the time of the run; its name is that of the study.

    Raises:
        SpaceError: The mapping cannot be written, or the block raises it; its text does not name the file.
    """
    if not isinstance(space, Mapping):
        yield str(space)
        return
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    with tempfile.TemporaryDirectory(prefix="tune-space-") as folder:
        file = Path(folder) / f"{study or 'space'}.yaml"
        try:
            YAML(typ="safe").dump(dict(space), file)
        except YAMLError as error:
            raise SpaceError(f"A space must consist of text, numbers, lists and mappings, but {error}.") from error
        try:
            yield str(file)
        except SpaceError as error:
            raise SpaceError(re.sub(rf"(?m)^{re.escape(str(file))}:\d+: ", "", str(error))) from error
