"""Malicious names and texts: refused in one line, or shown and written literally."""

# ruff: noqa: F811 - fixtures are imported here and named again by the tests that use them

import io
import json
import re
import shlex
from dataclasses import replace

import pytest
import typer
import yaml
from rich.console import Console
from ruamel.yaml import YAML

from tests.tuner.conftest import (  # noqa: F401 - fixtures
    empty_database,
    paths,
    search,
    space,
    spec,
    study,
    terms,
    url,
    winner,
)
from tuner.cli.main import main
from tuner.cli.run import default_study_name
from tuner.exceptions import MachineError, SpaceError, UsageError
from tuner.report.conclusion import conclusion_lines
from tuner.report.progress import View
from tuner.report.status import status_of, status_table
from tuner.space import SHIPPED_SPACES, load_space, parse_space
from tuner.storage.lease import study_lease
from tuner.study import StoredStudy, StudyPaths, driven_study
from tuner.system.paths import checked_path
from tuner.system.printable import printable
from tuner.training.export import params_yaml, training_arguments

INJECTIONS = [
    "'; DROP TABLE studies; --",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "$(touch pwned)",
    "`touch pwned`",
    "a; touch pwned #",
    "a && touch pwned",
    "line\nbreak: true\n- x",
    "carriage\rreturn",
    "\x1b[2J\x1b[31mred",
    "\x9b2J",
    "right\u202eto left\u2066",
    "line\u2028separator\u2029",
    "next\x85line",
    "[red]markup[/red] [link=http://x]",
    "nul\x00byte",
    "half \udc80 a character",
    "{curly} %s %(x)s",
    '"double" \\ backslash',
    "-rf",
    "CON",
    "ünïcödé 名前 🐍",
]
"""Texts for every output that contains a user's text."""

NEVER_WRITTEN = ["half \udc80 a character", "next\x85line"]
"""Texts that no YAML writer keeps; --data and --model refuse them."""

STUDY_NAMES = ["../escape", "/absolute", "..", ".", "a/b", "a\nb", "-rf", "--home", "", " ", "a b", "'a'", '"a"', "ü",
               "a" * 65, "a" * 300, "nul\x00", "~", "*", "a\u202eb", "$(touch pwned)", "CON:"]  # fmt: skip
_RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def told(capsys, *arguments):
    """Run a command in this process, and return its exit code and the line on standard error."""
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    assert "Internal error" not in out.err
    assert not _RAW.search(out.out + out.err), "a raw control character reached the terminal"
    return left.value.code, out.err


def one_line(text):
    return len(text.splitlines()) == 1


# The rule itself


@pytest.mark.parametrize("text", INJECTIONS)
def test_printable_text_is_one_line_of_harmless_characters_and_stays_so(text):
    shown = printable(text)
    assert one_line(shown)
    assert not _RAW.search(shown)
    assert printable(shown) == shown
    shown.encode("utf-8")


@pytest.mark.parametrize("text", ["ünïcödé 名前 🐍", "a b\\c 'd'", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"])
def test_text_of_any_language_is_shown_as_it_is(text):
    assert printable(text) == text


# Names of studies, for every verb


@pytest.mark.parametrize("name", STUDY_NAMES)
@pytest.mark.parametrize("verb", ["status", "promote", "export", "dashboard"])
def test_every_verb_refuses_a_name_that_no_study_can_have(tmp_path, monkeypatch, capsys, verb, name):
    monkeypatch.chdir(tmp_path)
    code, _ = told(capsys, verb, "--", name) if name.startswith("-") else told(capsys, verb, name)
    assert code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", STUDY_NAMES)
def test_a_run_refuses_a_name_that_no_study_can_have(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    code, said = told(capsys, "run", "--space=quick", "--trainer=/none", f"--study={name}")
    assert code == 2, said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", INJECTIONS)
def test_the_name_made_of_space_data_and_model_is_valid_and_stays_in_its_home(tmp_path, text):
    name = default_study_name(text, f"/data/{text}/{text}.yaml", f"../../{text}")
    root = StudyPaths.of(tmp_path, name).root
    assert root.parent == tmp_path
    assert root.name == name


# Files and folders


@pytest.mark.parametrize(
    "name", [text for text in INJECTIONS if "\0" not in text] + ["x" * 300, "..", "../..", "/", "~"]
)
@pytest.mark.parametrize("option", ["--space", "--data"])
def test_a_missing_file_is_reported_in_one_harmless_line(tmp_path, monkeypatch, capsys, option, name):
    monkeypatch.chdir(tmp_path)
    space = [] if option == "--space" else ["--space=quick"]
    code, said = told(capsys, "run", *space, "--trainer=/none", f"{option}={name}")
    # A folder can be a data set in COCO JSON: only the trainer can decide, and there is none here.
    is_for_trainer = option == "--data" and name in {"..", "../..", "/"}
    assert code in ({3} if option == "--space" else {5} if is_for_trainer else {2, 4})
    assert one_line(said.splitlines()[-1] if is_for_trainer else said)
    assert is_for_trainer or list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["what?", "%41", "new\nline", "\x1b[2J", "a\u202eb", "half\udc80", "x" * 300, "x/" * 3000]
)
@pytest.mark.parametrize(
    "verb", [["status", "s"], ["export", "s"], ["promote", "s"], ["run", "--space=quick", "--trainer=/none"]]
)
def test_an_unusable_home_is_reported_in_one_harmless_line(tmp_path, monkeypatch, capsys, verb, name):
    monkeypatch.chdir(tmp_path)
    code, said = told(capsys, *verb, f"--home={name}")
    assert code in (2, 5)
    assert one_line(said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a b'\"\\", "#&x=y;", "$(touch pwned)", "ünï 🐍", "-rf"])
def test_a_home_with_any_other_name_holds_its_study_in_that_folder(tmp_path, spec, name):
    paths = StudyPaths.of(tmp_path / name, "s")
    paths.create()
    url = f"sqlite:///{paths.database}"
    with study_lease(url, "s") as lease, driven_study(lease, spec, paths.journal):
        assert paths.database.exists()
    assert StoredStudy.open(url, "s").spec == spec
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("text", ["new\nline", "\x1b[2J", "a\u202eb", *NEVER_WRITTEN])
def test_a_path_that_would_break_a_list_or_a_line_is_refused(text):
    with pytest.raises(UsageError, match="--data must be valid UTF-8 without control characters"):
        checked_path("--data", text)


def test_a_study_that_is_a_link_out_of_its_home_is_refused_and_one_within_is_not(tmp_path):
    outside, home = tmp_path / "outside", tmp_path / "home"
    (outside / "s").mkdir(parents=True)
    (home / "real").mkdir(parents=True)
    (home / "s").symlink_to(outside / "s")
    (home / "inner").symlink_to(home / "real")
    (home / "circle").symlink_to(home / "circle")
    with pytest.raises(MachineError, match=r"is a link to .*--home"):
        StudyPaths.of(home, "s")
    with pytest.raises(MachineError, match="must be accessible"):
        StudyPaths.of(home, "circle")
    assert StudyPaths.of(home, "inner").root == home / "inner"
    (tmp_path / "link").symlink_to(home)
    assert StudyPaths.of(tmp_path / "link", "real").root == tmp_path / "link" / "real"
    assert list((outside / "s").iterdir()) == []


# Outputs


class _Told:
    """A study with hostile texts and the values of a real one."""

    def __init__(self, study, text):
        self._study = study
        self.spec = replace(study.spec, space_name=text, model=text, model_source=text, portable_model=text, data=text,
                            data_source=text, versions={text: text})  # fmt: skip

    def __getattr__(self, name):
        return getattr(self._study, name)


@pytest.fixture
def hostile_studies(study, winner):
    """Return a study for each text, with this text in all of its fields."""
    return {text: _Told(study, text) for text in INJECTIONS}


def printed(*renderables):
    console = Console(width=200, file=io.StringIO())
    console.print(*renderables, sep="\n")
    return console.file.getvalue()


def test_params_yaml_holds_hostile_words_as_values_and_comments_and_nothing_else(hostile_studies, winner):
    for text, hostile in hostile_studies.items():
        written = params_yaml(hostile, winner, 20)
        comments = [line for line in written.split("\n") if line.startswith("#")]
        assert all(not _RAW.search(line) and one_line(line) for line in comments), text
        if text in NEVER_WRITTEN:
            continue
        for body in (YAML(typ="safe", pure=True).load(written), yaml.safe_load(written)):
            assert (body["data"], body["model"]) == (text, text)
            assert set(body) == set(training_arguments(hostile.spec, winner, 20))


def test_the_status_table_shows_hostile_words_on_their_lines(hostile_studies):
    for text, hostile in hostile_studies.items():
        facts = status_of(hostile)
        facts["trials"][0]["reason"] = text
        shown = printed(*status_table(facts))
        assert not _RAW.search(shown), text
        assert len(shown.splitlines()) == 3 + len(facts["trials"]), text
        assert "[red]markup[/red]" in shown or "[red]" not in text


def test_the_status_as_json_is_ascii_and_parses_back_unchanged(hostile_studies):
    for text, hostile in hostile_studies.items():
        written = json.dumps(status_of(hostile))
        assert written.isascii()
        assert not _RAW.search(written)
        assert json.loads(written)["model"] == text


@pytest.mark.parametrize("text", INJECTIONS)
def test_lines_of_a_run_show_hostile_words_as_they_are_on_one_line(text, tmp_path):
    file = tmp_path / "screen"
    with file.open("w", encoding="utf-8") as screen:
        View(Console(file=screen, force_terminal=True, width=300), plain=True).note(f"trial 1 failed: {text}")
    shown = file.read_bytes().decode()
    assert shown.count("\n") == 1
    assert not _RAW.search(shown)
    assert "[red]markup" in shown or "[red]" not in text


def test_a_shell_reads_the_suggested_commands_as_intended(study, winner, tmp_path):
    for folder in (text for text in INJECTIONS if printable(text) == text and not set("/?%") & set(text)):
        home = tmp_path / folder
        paths = StudyPaths.of(home, "s")
        lines = [printable(line) for line in conclusion_lines(study, winner, paths, prefix=f"{home}/bin/")]
        commands = [shlex.split(line) for line in lines[lines.index("Next:") + 1 :: 2]]
        assert commands
        for program, *words in commands:
            if program == f"{home}/bin/yolo":
                assert words == ["train", f"cfg={paths.params}"]
            else:
                assert program == f"{home}/bin/tune"
                assert words[1:] == ["s", "--home", str(home)]


# Messages


@pytest.mark.parametrize("text", INJECTIONS)
def test_errors_in_a_space_of_hostile_words_are_reported_line_by_line(text):
    quoted = json.dumps(text)
    body = f"{{{quoted}: 1, parameters: {{{quoted}: {quoted}, lr0: {quoted}, optimizer: {quoted}}}, baseline: {{}}}}"
    with pytest.raises(SpaceError) as caught:
        parse_space(body, name="s", file=f"{text}.yaml")
    for line in str(caught.value).split("\n"):
        assert line.startswith(f"{printable(text)}.yaml:")
        assert not _RAW.search(line)


@pytest.mark.parametrize("text", INJECTIONS)
def test_every_error_is_reported_in_one_harmless_line(text, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise MachineError(f"The final run ended: {text}. Log: {text}")

    monkeypatch.setattr(typer.main, "get_command", fail)
    code, said = told(capsys, "status")
    assert code == 5
    assert said.count("\n") == 1


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "a\u202eb", "half\udc80", "[red]x"])
def test_a_wrong_command_line_is_reported_without_control_characters(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert told(capsys, "run", "--space=quick", f"--gpus={text}")[0] == 2
    assert told(capsys, text)[0] == 2
    assert told(capsys, "run", f"--{text}")[0] == 2


def test_the_shipped_spaces_have_nothing_to_escape():
    for file in SHIPPED_SPACES.glob("*.yaml"):
        assert printable(load_space(file).description) == load_space(file).description
