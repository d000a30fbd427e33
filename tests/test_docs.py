"""Everything that the docs name exists: rows of the fault matrix, tests, exit codes, rooms of the code."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
README = (TESTS.parent / "README.md").read_text(encoding="utf-8")
MATRIX = [
    line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"\| (\d+|\+[a-z]) \| [a-zA-Z`]", line)
]
ROWS = [row for row in MATRIX if len(row) == 5]
NAMED = sorted({found for row in ROWS for found in re.findall(r"`([\w/]+\.py)::(\w+)`(†?)", row[3])})


@cache
def _tests_of(file: str) -> dict[str, bool]:
    """Return the tests of a file, and whether some of their cases are slow."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name: any("mark.slow" in ast.unparse(d) for d in f.decorator_list) for f in functions}


def test_the_fault_matrix_has_all_its_rows():
    assert [row[0] for row in ROWS] == [
        *map(str, range(1, 27)),
        "+a",
        "+b",
        "+c",
        "+d",
        "+e",
        "+f",
        "+g",
        "+h",
        "+i",
        "+j",
        "+k",
        "+l",
        "+m",
        "+n",
        "+o",
        "+p",
        "+q",
        "+r",
        "+s",
        "+t",
        "+u",
        "+v",
        "+w",
        "+x",
        "+y",
        "+z",
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_row_names_a_test_and_what_was_measured_or_nothing(row):
    assert re.fullmatch(r"`[\w/]+\.py::\w+`†?(, `[\w/]+\.py::\w+`†?)*", row[3]), row[3]
    assert all(row)


@pytest.mark.parametrize(("file", "name", "mark"), NAMED, ids=[name for _, name, _ in NAMED])
def test_each_test_of_the_matrix_exists_and_is_marked_where_it_is_not_always_run(file, name, mark):
    assert name in _tests_of(file)
    assert _tests_of(file)[name] == bool(mark), "† stands where some cases are slow, and nowhere else"


def test_the_exit_codes_of_the_page_are_those_of_the_readme():
    section = PAGE[PAGE.index("## Exit codes") : PAGE.index("## Mechanisms")]
    codes = re.compile(r"^\| (\d+(?:, \d+)*) \|", re.MULTILINE)
    assert codes.findall(section) == codes.findall(README)


def _rooms_of_the_page(package: str) -> set[str]:
    page = (TESTS.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page[page.index(f"| `{package}/` | |") :].split("\n\n")[0]
    return set(re.findall(r"^\| `([\w/]+)` \|", table, re.MULTILINE)) - {f"{package}/"}


def _rooms_of_the_tree(package: str) -> set[str]:
    folder = TESTS.parent / package
    packages = {f"{found.parent.name}/" for found in folder.glob("*/__init__.py")}
    return packages | {found.stem for found in folder.glob("*.py") if not found.stem.startswith("__")}


@pytest.mark.parametrize("package", ["tuner", "trainer"])
def test_the_architecture_page_names_every_room_and_no_other(package):
    assert _rooms_of_the_page(package) == _rooms_of_the_tree(package)
