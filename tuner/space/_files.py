"""Find and load space files, from users and from the package."""

import os
from pathlib import Path

from tuner.exceptions import SpaceError
from tuner.space._arguments import nearest
from tuner.space._reader import parse_space
from tuner.space._shipped import SHIPPED_SPACES
from tuner.space._space import Space
from tuner.space._yaml_nodes import MAX_BYTES


def find_space(name: str, cwd: Path) -> Path:
    """Return the space file for a name: an existing path, or else the name of a shipped space.

    Raises:
        SpaceError: the name is neither; the text lists the shipped spaces and suggests the most similar one.
    """
    path = cwd / name
    if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name that is too long
        return path
    is_bare = Path(name).name == name and Path(name).suffix in ("", ".yaml", ".yml")
    shipped = {file.stem: file for file in sorted(SHIPPED_SPACES.glob("*.yaml"))}
    stem = Path(name).stem
    if is_bare and stem in shipped:
        return shipped[stem]
    near = nearest(stem, shipped)
    guess = f"did you mean {near}? " if near else ""
    raise SpaceError(
        f"A space is a file or one of the shipped spaces, but there is no {name!r} in {cwd}; "
        f"{guess}The shipped spaces are {', '.join(shipped) or 'none'}."
    )


def load_space(path: Path) -> Space:
    """Read and check a space file.

    Raises:
        SpaceError: the file cannot be read, or breaks rules; one line for each problem.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise SpaceError(f"{path}: cannot be read ({error.strerror}); check its name and permissions.") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpaceError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8.") from error
    return parse_space(text, name=path.stem, file=str(path))
