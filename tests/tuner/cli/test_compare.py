"""`tune compare`: studies by name and by folder; wrong ones in one line."""

import json

import pytest

from tuner.cli.main import main


@pytest.fixture
def tune(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in this process, in a folder with two studies."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        return (left.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def studies(make_study):
    return [make_study("studies", name="one"), make_study("studies", name="two", best=0.4, settings={"seed": 1})]


def test_studies_are_found_by_name_and_by_folder(tune, studies):
    code, by_name, _ = tune("compare", "one", "two", "--json")
    assert code == 0
    code, by_folder, _ = tune("compare", "studies/one", f"{studies[1]}/", "--json")
    assert code == 0
    assert json.loads(by_name) == json.loads(by_folder)
    assert [study["label"] for study in json.loads(by_name)["studies"]] == ["one", "two"]


def test_studies_of_one_database_are_found_by_name(tune, make_study, tmp_path):
    url = f"sqlite:///{make_study('studies', name='one') / 'study.db'}"
    make_study("studies", name="two", settings={"seed": 1}, storage=url)
    code, printed, _ = tune("compare", "one", "two", "--json", "--storage", url)
    assert code == 0
    assert [row["name"] for row in json.loads(printed)["differing_settings"]] == ["seed"]


def test_a_page_replaces_the_text(tune, studies, tmp_path):
    code, printed, _ = tune("compare", "one", "two", "-o", "compare.html")
    assert (code, printed) == (0, "compare.html\n")
    assert "Comparison of 2 studies" in (tmp_path / "compare.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["one"], "takes two or more studies, but got only 'one'"),
        (["one", "one"], "takes different studies, but got 'one' and 'one'"),
        (
            ["one", "two", "studies/../studies/one"],
            "takes different studies, but got 'one' and 'studies/../studies/one'",
        ),
        (["one", "gone"], "There is no study 'gone'"),
        (["one", "elsewhere/gone"], "There is no study 'gone'"),
        (["one", "-x"], "No such option: -x"),
    ],
)
def test_wrong_studies_are_refused_in_one_line(tune, studies, given, said):
    code, printed, error = tune("compare", *given)
    assert (code, printed) == (2, "")
    assert said in error.splitlines()[-1]


def test_an_unwritable_page_is_a_problem_of_the_machine(tune, studies, tmp_path):
    code, _, error = tune("compare", "one", "two", "-o", "none/compare.html")
    assert code == 5
    assert "choose another with -o" in error
