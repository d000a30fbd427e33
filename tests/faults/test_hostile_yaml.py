"""Malicious YAML: either it is read as a space or a data set, or it is refused at once, with the line."""

import random
import re
import resource
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.data.dataset_yaml import MAX_BYTES as MAX_BYTES_OF_DATA
from trainer.data.dataset_yaml import Description, read_description
from trainer.exceptions import DataError
from tuner.exceptions import SpaceError
from tuner.space import SHIPPED_SPACES, Space, load_space
from tuner.space._yaml_nodes import MAX_BYTES as MAX_BYTES_OF_SPACE

SIZES = {"as large as is read": (MAX_BYTES_OF_SPACE, MAX_BYTES_OF_DATA), "a mebibyte": (1 << 20, 1 << 20)}
LIMIT_S = 5.0
"""CPU time: none of these takes 2 s, but a parser whose time grows with the square of the text takes more."""

DATA = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


class _Filled:
    """A unit that is repeated between a head and a tail until the text has a size."""

    def __init__(self, unit, before="", after=""):
        self.unit, self.before, self.after = unit, before, after

    def of(self, size):
        number = (size - len((self.before + self.after).encode())) // len(self.unit.encode())
        return self.before + self.unit * number + self.after


def _laughs(rest):
    anchors = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for one, other in zip("bcdefghi", "abcdefgh", strict=True):
        anchors += f"{one}: &{one} [{', '.join([f'*{other}'] * 9)}]\n"
    return anchors + rest


ATTACKS = {
    "deep flow lists": _Filled("["),
    "deep flow mappings": _Filled("{a: "),
    "deep block lists": _Filled("- "),
    "deep block mappings": "".join(f"{' ' * depth}a:\n" for depth in range(600)),
    "a huge key": _Filled("a", after=": 1"),
    "a huge quoted key": _Filled("a", '"', '": 1'),
    "a long text": _Filled("x", "description: "),
    "many words": _Filled("x ", "description: "),
    "a text on many lines": _Filled(" x\n", "description:\n"),
    "an empty quoted text of many lines": _Filled("\n", 'description: "', '"'),
    "a long literal": _Filled(" x\n", "description: |\n"),
    "a long folded text": _Filled("\n", "description: >\n"),
    "many escapes": _Filled("\\n", 'description: "', '"'),
    "an escape beyond Unicode": 'description: "\\U00110000"',
    "half a character as an escape": 'parameters: {"\\ud800": 1}',
    "many documents": _Filled("---\n"),
    "many ends of documents": _Filled("...\n"),
    "many directives": _Filled("%YAML 1.2\n"),
    "many tag directives": "".join(f"%TAG !{i}! tag:x\n" for i in range(40_000)),
    "a long directive": _Filled("x", "%FOO ", "\n---\na: 1"),
    "a version that is no version": "%YAML 99999999999999.999\n---\na: 1",
    "a version of thousands of digits": f"%YAML {'9' * 100_000}.1\n---\na: 1",
    "comments only": _Filled("#\n"),
    "one long comment": _Filled("#"),
    "many commas": _Filled(",", "["),
    "many nothings": _Filled("- \n"),
    "many question marks": _Filled("?\n"),
    "nested question marks": _Filled("? "),
    "only NUL": _Filled("\0"),
    "only byte-order marks": _Filled("\ufeff"),
    "a byte-order mark inside": "a: 1\n\ufeffb: 2",
    "half a character": b"a: \xed\xa0\x80",
    "no text": random.Random(0).randbytes(100_000),
    "only line breaks": _Filled("\n"),
    "only carriage returns": _Filled("\r"),
    "only blanks": _Filled(" "),
    "only tabs": _Filled("\t"),
    "a hundred thousand digits": f"parameters: {{lr0: {'9' * 100_000}}}\nnc: {'9' * 100_000}",
    "digits with a point": f"parameters: {{lr0: 1.{'9' * 100_000}}}\nnc: 1.{'9' * 100_000}",
    "a long exponent": f"parameters: {{lr0: 1e{'9' * 100_000}}}\nnc: 1e{'9' * 100_000}",
    "many hexadecimal digits": f"parameters: {{batch: 0x{'f' * 100_000}}}\nnc: 0x{'f' * 100_000}",
    "almost a number": _Filled("1", "parameters: {lr0: ", "x}"),
    "writing turned round": 'parameters: {"\u202elr0": 1}',
    "a program in a tag": "!!python/object/apply:os.system ['touch pwned']",
    "a program in the data": "train: !!python/object/apply:os.system ['touch pwned']\nval: x\nnames: [a]",
    "a merge": "base: &a {x: 1}\nparameters:\n  <<: *a\n",
    "a merge bomb": "a: &a {x: 1}\n" + "".join(f"b{i}: &b{i} {{<<: [{', '.join(['*a'] * 9)}]}}\n" for i in range(99)),
    "a billion laughs": _laughs("train: *i\nval: *i\nnames: *i\n"),
    "a list that holds itself": "&a [*a]",
    "names that hold themselves": "train: x\nval: x\nnames: &a [*a]",
    "many anchors": _Filled("&a 1,", "[", "]"),
    "an anchor of thousands of characters": f"parameters: &{'a' * 5000} 1",
    "an alias of thousands of characters": f"parameters: *{'a' * 5000}",
    "a tag of thousands of characters": f"parameters: !{'a' * 5000} 1",
    "a long anchor": _Filled("a", "&", " 1"),
    "a long alias": _Filled("a", "*"),
    "a long tag": _Filled("a", "!", " 1"),
    "a long tag of exclamation marks": _Filled("!"),
    "a long tag of escapes": _Filled("%41", "!", " 1"),
    "a long verbatim tag": _Filled("a", "!<", "> 1"),
    "many keys": "{" + ", ".join(f"k{i}: 1" for i in range(90_000)) + "}",
    "one key many times": _Filled("k: 1, ", "{", "}"),
    "many parameters": "parameters: {" + ", ".join(f"lr{i}: 1" for i in range(2000)) + "}",
    "many long names": "parameters:\n" + "".join(f"  {'a' * 200}{i}: 1\n" for i in range(1200)),
    "many pairs without a comma": _Filled("a ", "{"),
    "an indicator of indentation": "a: |9999999\n x",
    "an odd date": "train: 2020-13-45\nval: x\nnames: [a]",
    "broad and deep": "a:\n" + f"{'- ' * 30}x\n" * 10_000,
}


def outcome(read, error_type, file):
    """Read a text, check the rules for the result, and return it, or the lines of the refusal."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        result = read(file)
    except error_type as error:
        lines = str(error).split("\n")
        for line in lines:
            assert re.match(rf"{re.escape(str(file))}(:\d+)?: \S", line), line
            assert len(line) < 1000, line
            assert line.isprintable() or not re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", line), line
        assert len(lines) <= 101
        result = lines
    assert time.process_time() - began < LIMIT_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024, "kilobytes"
    return result


def put(folder, content, size=0):
    text = content.of(size) if isinstance(content, _Filled) else content
    file = folder / "file.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return file


def each_attack(test):
    """Run a test with each attack: at each size if it only grows, otherwise once."""
    cases = [(a, size) for a in ATTACKS for size in SIZES if isinstance(ATTACKS[a], _Filled) or size == "a mebibyte"]
    return pytest.mark.parametrize(("attack", "size"), cases)(test)


@each_attack
def test_a_malicious_space_is_refused_at_once(tmp_path, monkeypatch, attack, size):
    monkeypatch.chdir(tmp_path)
    file = put(tmp_path, ATTACKS[attack], SIZES[size][0])
    assert isinstance(outcome(load_space, SpaceError, file), list)
    assert not Path("pwned").exists()


@each_attack
def test_a_malicious_data_set_is_refused_at_once_or_read_literally(tmp_path, monkeypatch, attack, size):
    monkeypatch.chdir(tmp_path)
    outcome(read_description, DataError, put(tmp_path, ATTACKS[attack], SIZES[size][1]))
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("attack", "rule"),
    [
        ("a long tag", "a line must not exceed 10000 characters"),
        ("many directives", "found duplicate YAML directive"),
        ("deep flow lists", "a line must not exceed 10000 characters"),
        ("deep block mappings", "must not nest deeper than 32 levels"),
        ("many nothings", "must not have more than 5000 keys and values"),
        ("an escape beyond Unicode", "a number in an escape or a directive is out of range"),
        ("a version of thousands of digits", "a line must not exceed 10000 characters"),
        ("a billion laughs", "anchors are not allowed"),
        ("a merge bomb", "aliases are not allowed"),
        ("a program in a tag", "tags are not allowed"),
    ],
)
def test_each_limit_of_a_space_states_its_rule(tmp_path, attack, rule):
    file = put(tmp_path, ATTACKS[attack], MAX_BYTES_OF_SPACE)
    assert rule in "\n".join(outcome(load_space, SpaceError, file))


@pytest.mark.parametrize(
    ("attack", "rule"),
    [
        ("a long tag", "got a tag of 500 characters"),
        ("deep flow lists", "30000 keys and values in 32 levels, but this file has more"),
        ("many nothings", "may have 30000 keys and values"),
        ("many keys", "may have at most 262144 bytes"),
        ("a version of thousands of digits", "could not be read"),
    ],
)
def test_each_limit_of_a_data_set_states_its_rule(tmp_path, attack, rule):
    file = put(tmp_path, ATTACKS[attack], MAX_BYTES_OF_DATA)
    assert rule in "\n".join(outcome(read_description, DataError, file))


# Fuzz

_SEEDS = [file.read_text() for file in sorted(SHIPPED_SPACES.glob("*.yaml"))] + [DATA]
_SCRAPS = [
    *"[]{}:,-?!&*|>%@`\"'#~<=\\\t\n\r\0 ",
    *("---\n", "...\n", "<<: *a", "&a ", "*a", "!!python/name:os.system ", "!x ", "!<tag:x> ", "? ", "|\n", ">-\n"),
    *("%YAML 1.1\n", "1e5", "-.inf", ".nan", "0x1F", "0o17", "1_000", "null", "~", "yes", "'", '"\\U00110000"'),
    *("9" * 400, "\ufeff", "\x85", "\u2028", "\u202e", "\ud800", "[[[[[[[[", "{{{{{{{{", "- - - - ", "    ", "\n  "),
    *("lr0: ", "float: ", "choice: ", "when: ", "parameters:", "baseline:", "optimizer", "rungs: ", "names: ", "nc: "),
    *("train: ", "{float: [0.1, 0.01]}", "{when: {optimizer: SGD}, "),
]


@st.composite
def mutated(draw):
    """Return a good file with a few deletions, insertions, exchanges and repetitions."""
    text = draw(st.sampled_from(_SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 40))
        scrap = draw(st.sampled_from(_SCRAPS))
        match draw(st.integers(0, 3)):
            case 0:
                text = text[:at] + scrap + text[at:]
            case 1:
                text = text[:at] + text[at + length :]
            case 2:
                text = text[:at] + scrap + text[at + length :]
            case 3:
                text = text[:at] + text[at : at + length] * draw(st.integers(2, 30)) + text[at + length :]
    return text


YAML_LIKE = st.lists(st.one_of(st.sampled_from(_SCRAPS), st.text(max_size=8)), max_size=60).map("".join)
FILES = st.one_of(mutated(), YAML_LIKE, st.binary(max_size=400))


def fuzz(num_examples):
    return settings(
        max_examples=num_examples,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def check_both(folder, content):
    file = put(folder, content)
    assert isinstance(outcome(load_space, SpaceError, file), Space | list)
    assert isinstance(outcome(read_description, DataError, file), Description | list)


@fuzz(500)
@given(content=FILES)
def test_any_file_is_a_space_or_refused_in_clear_lines(tmp_path_factory, content):
    check_both(tmp_path_factory.getbasetemp(), content)


@pytest.mark.slow
@fuzz(10_000)
@given(content=FILES)
def test_any_of_ten_thousand_files_is_a_space_or_refused_in_clear_lines(tmp_path_factory, content):
    check_both(tmp_path_factory.getbasetemp(), content)
