"""docs/guide.md: every point of the guide, commands that exist, tests that exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import _tests_of

PAGE = (Path(__file__).parent.parent / "docs" / "guide.md").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"\| \d+ \| ", line)]
COMMANDS = sorted({found for row in ROWS for found in re.findall(r"`tune ([^`]+)`", row[3])})
TESTS = sorted({found for row in ROWS for found in re.findall(r"`([\w/]+\.py)::(\w+)`(†?)", row[4])})


def test_every_point_has_its_row():
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, 34)]
    assert all(len(row) == 5 and all(row) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_point_names_a_command_and_a_test(row):
    assert re.search(r"`tune [a-z]", row[3])
    assert re.fullmatch(r"`[\w/]+\.py::\w+`†?", row[4])


@pytest.fixture(scope="module")
def help_of():
    """Return a function that runs the help of a verb in its own process, once."""
    known: dict[str, str] = {}

    def ask(verb: str) -> str:
        if verb not in known:
            command = [sys.executable, "-m", "tuner", *verb.split(), "--help"]
            environment = {"COLUMNS": "300", "PATH": "/usr/bin:/bin", "TERM": "dumb"}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            assert done.returncode == 0, done.stderr
            known[verb] = done.stdout
        return known[verb]

    return ask


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_and_has_the_options_that_are_named(help_of, command):
    words = command.split()
    verb = " ".join(word for word in words if not word.startswith("-"))
    text = help_of(verb)
    assert "Usage: " in text
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"{option}\b", text), option


@pytest.mark.parametrize(("file", "name", "mark"), TESTS, ids=[name for _, name, _ in TESTS])
def test_every_test_exists_and_is_marked_where_it_is_not_always_run(file, name, mark):
    assert name in _tests_of(file)
    assert _tests_of(file)[name] == bool(mark)
