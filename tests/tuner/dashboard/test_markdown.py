"""Show text of unknown origin literally."""

import pytest

from tuner.dashboard.markdown import code, escaped, shell, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a*b_c", r"a\*b\_c"),
        ("[x](http://h)", r"\[x\](http://h)"),
        ("![i](u)", r"\!\[i\](u)"),
        ("<script>", r"\<script\>"),
        ("a|b", r"a\|b"),
        ("a\nb", r"a\\nb"),
        ("0.5 (trial 3), plain: text", "0.5 (trial 3), plain: text"),
    ],
)
def test_markdown_syntax_is_escaped(text, shown):
    assert escaped(text) == shown


@pytest.mark.parametrize(("text", "shown"), [("a", "`a`"), ("a`b", "``a`b``"), ("`a", "`` `a ``"), ("a|b", r"`a\|b`")])
def test_code_can_hold_any_text(text, shown):
    assert code(text) == shown


def test_a_table_has_a_line_for_each_row():
    assert table([("a", "b")]) == "|  |  |\n| --- | --- |\n| a | b |"


def test_commands_are_one_line_each():
    assert shell([("tune status 'a\nb'", "look")]) == "```sh\n# look\ntune status 'a\\nb'\n```"
