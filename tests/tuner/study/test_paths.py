"""Names of studies, and the paths of their files."""

from pathlib import Path

import pytest

from tuner.exceptions import MachineError, UsageError
from tuner.study import StudyPaths, checked_study_name


@pytest.mark.parametrize("name", ["a", "7", "quick-sample-mamba-yolo-n", "A.b_c-d", "a..b", "a.", "CON", "x" * 64])
def test_names_of_letters_digits_dots_underscores_and_dashes_are_accepted(name):
    assert checked_study_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../escape",
        "a/b",
        "/a",
        "-rf",
        "_a",
        ".hidden",
        "a b",
        "a ",
        " a",
        "a\n",
        "a\nb",
        "a\t",
        "a\0",
        "grün",
        "研究",
        "Ａ",
        "٣",
        "a:b",
        "a*",
        "$HOME",
        "x" * 65,
    ],
    ids=ascii,
)
def test_every_other_name_is_refused_and_shown(name):
    with pytest.raises(UsageError) as caught:
        checked_study_name(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_of_a_wrong_name_are_refused(tmp_path):
    with pytest.raises(UsageError):
        StudyPaths.of(tmp_path, "..")


def test_naming_the_paths_creates_nothing(tmp_path):
    paths = StudyPaths.of(tmp_path / "home", "s")
    _ = paths.database, paths.trial(0), paths.final_run(0, 300), paths.params
    assert list(tmp_path.iterdir()) == []


def test_everything_is_below_the_folder_of_the_study(tmp_path):
    paths = StudyPaths.of(tmp_path, "s")
    assert paths.root == tmp_path / "s"
    assert paths.trial(7) == tmp_path / "s" / "trials" / "0007"
    assert paths.final_run(7, 300) == tmp_path / "s" / "promoted" / "trial-0007-300-epochs"
    files = [paths.database, paths.lock, paths.params]
    assert {file.parent for file in files} == {paths.root}
    assert len({file.name for file in files}) == 3


def test_a_home_is_resolved_against_the_current_folder_and_stays_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert StudyPaths.of(Path("studies"), "s").root == tmp_path / "studies" / "s"


def test_the_folder_is_created_with_its_parents_and_left_empty(tmp_path):
    paths = StudyPaths.of(tmp_path / "a" / "b", "s")
    paths.create()
    paths.create()
    assert list(paths.root.iterdir()) == []


def test_a_home_below_a_file_is_reported_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"Not a directory.*--home"):
        StudyPaths.of(tmp_path / "file", "s").create()


def test_an_unwritable_home_is_reported(tmp_path):
    with pytest.raises(MachineError, match=r"'/proc/studies/s' is not"):
        StudyPaths.of(Path("/proc/studies"), "s").create()


def test_a_file_in_the_place_of_the_folder_is_reported_and_kept(tmp_path):
    (tmp_path / "s").write_text("mine")
    with pytest.raises(MachineError, match="File exists"):
        StudyPaths.of(tmp_path, "s").create()
    assert (tmp_path / "s").read_text() == "mine"
