"""One word for one thing, the field's, and plain English: in names, messages, docstrings, comments and pages.

`docs/glossary.md` defines the words; CONTRIBUTING.md says how to write.
"""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

INSTEAD = {
    r"pictures?": "image",
    r"(?<!<)(?<!<\/)figures?(?!>| \{| img)": "metric or value",
    r"quotations?": "cost estimate",
    r"rehearsals?": "profiling",
    r"promoted runs?": "final run",
    r"setbacks?": "failed attempt",
    r"alike": "the same, similar, normalised_cause",
    r"upkeep": "maintenance",
    r"pulse": "ray_health",
    r"lettering": "text",
    r"guards": "stopping",
    r"dead_value": "constant_metric",
    r"(?-i:DrivenStudy|KnownStudy|PromotedRun|Bounds|Contest)": "StudySession, ReadableStudy, FinalRun, Budget, "
    "ComparisonPlan",
    r"of which": "two sentences",
    r"none where": "None if",
    r"go(es)? on|going on|went on": "continue, resume",
    r"anew|afresh": "again",
    r"beside": "next to, with",
    r"(is|are) told": "report, show",
    r"fault of (ours|tune)": "internal error",
    r"come[s]? with us": "bundled",
}
"""A word or an idiom -> what to write."""

STORED = {
    "tuner/study/_facts.py": {"setbacks", "quotation"},
    "tuner/study/_attributes.py": {"rehearsal"},
    "tests/tuner/search/test_trial_events.py": {"setbacks", "quotation"},
    "tests/tuner/study/test_facts.py": {"setbacks", "quotation"},
}
"""Names in databases that earlier versions made."""

PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "mkdocs.yml", "pyproject.toml", "Makefile"),
    *(str(page.relative_to(ROOT)) for folder in ("docs", "search_spaces", "benchmarks", "deploy", ".github") for page in
      sorted((ROOT / folder).rglob("*")) if page.suffix in {".md", ".yaml", ".yml", ".html", ".j2"}),
]  # fmt: skip
MODULES = [
    str(module.relative_to(ROOT))
    for package in ("tuner", "trainer", "benchmarks", "deploy")
    for module in sorted((ROOT / package).rglob("*"))
    if module.suffix in {".py", ".j2", ".sh", ".yaml"}
]

TESTS = [
    str(module.relative_to(ROOT))
    for module in sorted((ROOT / "tests").rglob("*.py"))
    if module != Path(__file__) and "data" not in module.relative_to(ROOT).parts
]


def found(text, allowed=frozenset()):
    """Each word of the list in a text."""
    words = (match[0].lower() for word in INSTEAD for match in re.finditer(rf"(?<![a-z]){word}(?![a-z])", text, re.I))
    return [word for word in words if word not in allowed]


def documented(tree):
    """Return the nodes of a module that may have a docstring."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_in_plain_english(page):
    text = re.sub(r"::test_\w+", "", (ROOT / page).read_text(encoding="utf-8"))
    if page == "CHANGELOG.md":  # its table of renamed things
        text = re.sub(r"(?m)^\|.*$", "", text)
    assert [(number, word) for number, line in enumerate(text.splitlines(), start=1) for word in found(line)] == []


@pytest.mark.parametrize("module", MODULES)
def test_names_messages_docstrings_and_comments_are_in_plain_english(module):
    text = (ROOT / module).read_text(encoding="utf-8")
    allowed = STORED.get(module, frozenset())
    assert [(n, word) for n, line in enumerate(text.splitlines(), start=1) for word in found(line, allowed)] == []
    if module.endswith(".py"):
        prose = [t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.STRING]
        joined = [re.sub(r"\s+", " ", string) for string in prose]  # an idiom over two lines
        assert [word for string in joined for word in found(string, allowed)] == []


@pytest.mark.parametrize("module", TESTS)
def test_names_docstrings_and_comments_of_tests_are_in_plain_english(module):
    text = (ROOT / module).read_text(encoding="utf-8")
    tree = ast.parse(text)
    names = [node.name.replace("_", " ") for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    docstrings = [ast.get_docstring(node) or "" for node in documented(tree)]
    comments = [t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT]
    prose = [re.sub(r"\s+", " ", part) for part in (*names, *docstrings, *comments)]
    allowed = STORED.get(module, frozenset())
    assert [(part, word) for part in prose for word in found(part, allowed)] == []


@pytest.mark.parametrize("module", [*(module for module in MODULES if module.endswith(".py")), *TESTS])
def test_docstrings_say_what_is_done_and_ask_nothing(module):
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    questions = r"(What|Whether|How|Where|Who|Which|Why|When)\b"
    assert [
        text.splitlines()[0] for node in documented(tree) if re.match(questions, text := ast.get_docstring(node) or "")
    ] == []
