"""Write text of unknown origin as Markdown that shows it as it is."""

import re
from collections.abc import Iterable

from tuner.system.printable import printable

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$&!#])")
"""What has a meaning within a line: emphasis, code, links, images, tables. Addresses become links in any case."""


def escaped(text: str) -> str:
    """Return Markdown that shows a text literally, within a line."""
    return _SPECIAL.sub(r"\\\1", printable(text))


def code(text: str) -> str:
    """Return a code span that shows a text literally, also in the cell of a table."""
    shown = printable(text).replace("|", r"\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def table(rows: Iterable[tuple[str, str]], *, names: tuple[str, str] = ("", "")) -> str:
    """Return a table of two columns of Markdown."""
    lines = [names, ("---", "---"), *rows]
    return "\n".join(f"| {left} | {right} |" for left, right in lines)


def shell(commands: Iterable[tuple[str, str]]) -> str:
    """Return a block of commands, each with the purpose in front of it as a comment."""
    lines = [f"# {printable(purpose)}\n{printable(command)}" for command, purpose in commands]
    return "\n".join(["```sh", *lines, "```"])
