"""A table of many rows: aligned columns, the last one wrapped below itself."""

import textwrap
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from tuner.report.long_table import LongTable, _wrapped_words

HEADER = ("trial", "state", "why")
RIGHT = frozenset({"trial"})


def lines(rows, width=40, **options):
    console = Console(file=StringIO(), width=width, **options)
    console.print(LongTable(HEADER, rows, right=RIGHT), "after", sep="\n")
    return console.file.getvalue().split("\n")


def test_columns_are_as_wide_as_their_widest_cell_and_numbers_are_on_the_right():
    assert lines([("0", "COMPLETE", "the default"), ("1234567", "FAIL", "")]) == [
        "  trial  state     why",
        "      0  COMPLETE  the default",
        "1234567  FAIL",
        "after",
        "",
    ]


def test_a_long_cell_is_wrapped_below_itself():
    assert lines([("0", "FAIL", "the loss is NaN in epoch 2 of trial 0")])[1:4] == [
        "    0  FAIL   the loss is NaN in epoch 2",
        "              of trial 0",
        "after",
    ]


@pytest.mark.parametrize("why", ["验证损失不是数字" * 6, "e\u0301t\u0301e\u0301 " * 20, "x" * 100])
def test_no_line_is_wider_than_the_terminal_with_any_characters(why):
    shown = lines([("0", "FAIL", why)])
    assert max(map(cell_len, shown)) <= 40
    assert "".join(line.split("FAIL")[-1].strip() for line in shown[1:-2]).replace(" ", "") == why.replace(" ", "")


def test_on_a_narrow_terminal_the_last_cell_is_below_the_others():
    assert lines([("0", "COMPLETE", "the default configuration"), ("1", "FAIL", "")], width=24) == [
        "trial  state",
        "       why",
        "    0  COMPLETE",
        "       the default",
        "       configuration",
        "    1  FAIL",
        "after",
        "",
    ]


def test_text_of_users_is_not_markup():
    assert "[red]x[/red]" in lines([("0", "FAIL", "[red]x[/red]")])[1]


def test_the_header_is_bold_on_a_terminal_only():
    assert lines([("0", "FAIL", "")], force_terminal=True)[0].startswith("\x1b[1m")


def test_a_table_without_rows_is_its_header():
    assert lines([])[:2] == ["trial  state  why", "after"]


@given(st.lists(st.text("abc,.:", min_size=1, max_size=12), max_size=30), st.integers(12, 40))
def test_words_are_wrapped_as_textwrap_wraps_them(words, width):
    text = " ".join(words)
    assert _wrapped_words(text, width) == textwrap.wrap(text, width)
