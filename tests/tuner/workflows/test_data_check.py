"""`tune data check` with the real trainer: text, JSON, page, exit codes."""

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.conftest import SCRIPTED_TRAINER
from tests.support import dirty_data as planted
from trainer.data.checking.advice import advice
from tuner.cli.main import main
from tuner.contract.data_report import (
    ClassFacts,
    DataReport,
    Finding,
    Level,
    Place,
    Sample,
    SizeFacts,
    SplitFacts,
    decode_report,
)
from tuner.report.data_check import data_check_lines, next_command
from tuner.report.data_check_page import data_check_page


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """Create the data set once: no test may change it."""
    return planted.make(tmp_path_factory.mktemp("dirty") / "data")


@pytest.fixture
def tune(capfd):
    """Return a function that runs the command: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return run


def test_a_refused_data_set_is_reported_whole_and_ends_with_4_and_one_line(dirty, tune, tmp_path):
    page = tmp_path / "check.html"
    code, out, err = tune("data", "check", dirty.root / "dataset.yaml", "--html", page, "--fix", tmp_path / "clean")
    assert code == 4
    assert len(err.splitlines()) == 1
    assert err.startswith("Validation images must not be trained on, but 1 of 18 images of val are also in train")
    assert "rows with a class that the data set does not have: 3 in train" in out
    assert "labels/train/class.txt:2  7" in out
    assert f"cleaned     {tmp_path}/clean/data.yaml: 71 images, 26 left out, 2 rewritten, 3 label rows" in out
    assert "Next:" not in out
    assert "images/val/copy.jpg" in page.read_text()
    assert page.read_text().count("data:image/jpeg;base64,") > 20


def test_no_model_is_chosen_for_a_data_set_that_is_refused(dirty, tune, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = tune("run", "--space", "strong_aug", "--data", dirty.root / "dataset.yaml")
    assert (code, out) == (4, "")
    assert err.startswith("Validation images must not be trained on")
    assert len(err.splitlines()) == 1


def test_a_good_data_set_ends_with_the_command_to_type_next(tune):
    code, out, err = tune("data", "check", "sample:16")
    assert (code, err) == (0, "")
    last = out.splitlines()[-1]
    assert last.endswith("tune run --space strong_aug --data sample:16 --model mamba-yolo-t --imgsz 128 --dry-run")


@pytest.mark.parametrize(
    ("images", "imgsz", "command"),
    [
        (600, "128", "tune run --space strong_aug --data d.yaml --model mamba-yolo-t --imgsz 128 --dry-run"),
        (20_000, "960", "tune run --space medium_aug --data d.yaml --model mamba-yolo-b --imgsz 960 --dry-run"),
        (200_000, "640", "tune run --space weak_aug --data d.yaml --model mamba-yolo-l --imgsz 640 --dry-run"),
    ],
)
def test_the_next_command_is_all_of_the_advice(images, imgsz, command):
    report = made()
    split = replace(report.splits["train"], usable=images)
    report = made(advice=advice({"train": split}, replace(report.sizes, imgsz=int(imgsz))))
    assert next_command(report, "d.yaml") == command
    options = set(shlex.split(command))
    assert {each.choice for each in report.advice if each.choice} <= options


def test_the_next_command_is_one_that_runs(tune, tmp_path, monkeypatch):
    """Run the printed command, with a trainer that trains nothing: all of its options are accepted."""
    monkeypatch.chdir(tmp_path)
    _, out, _ = tune("data", "check", "sample:16")
    monkeypatch.setenv("TUNE_TRAINER", f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds 0.02")
    words = shlex.split(out.splitlines()[-1].partition("tune run ")[2])
    command = [sys.executable, "-m", "tuner", "run", *words, "--plain", "--parallel", "1"]  # Ray may already run here
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "imgsz=128 for all trials" in done.stdout
    assert "model  mamba-yolo-t, " in done.stdout
    assert "cost   an epoch takes 0.0 s" in done.stdout


def test_json_is_the_whole_report_and_nothing_else(dirty, tune, tmp_path):
    code, out, err = tune("data", "check", dirty.root / "dataset.yaml", "--json", "--html", tmp_path / "page.html")
    assert code == 4
    report = decode_report(out)
    kinds = {finding.kind for finding in report.findings}
    assert kinds == set(dirty.planted)
    assert err.splitlines()[0].startswith("page ")


@pytest.mark.parametrize("places", [0, 1, 1000])
def test_as_many_places_are_named_as_asked_for(dirty, tune, places):
    _, out, _ = tune("data", "check", dirty.root / "dataset.yaml", "--places", places)
    named = re.findall(r"^ {9}labels/train/(?:nan|inf)\.txt", out, re.MULTILINE)
    assert len(named) == min(places, 2)


def test_the_trainer_of_the_user_checks_the_data(tune, tmp_path):
    trainer = f"{sys.executable} {SCRIPTED_TRAINER} --advice my-model"
    code, out, err = tune("data", "check", "sample:16", "--trainer", trainer)
    assert (code, err) == (0, "")
    assert "--model my-model" in out.splitlines()[-1]


BROKEN = "print('broken', file=__import__('sys').stderr); raise SystemExit(3)"


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ("/no/such/trainer", "the trainer '/no/such/trainer' cannot be started"),
        (f'{sys.executable} -c "{BROKEN}"', "the trainer ended with exit code 3: broken."),
        (f"{sys.executable} -c \"print('Epoch 1/9'); input(); input()\"", "one line of JSON, but got 'Epoch 1/9'"),
    ],
)
def test_a_broken_trainer_is_reported_in_one_line_with_exit_code_5(tune, trainer, said):
    code, out, err = tune("data", "check", "sample:16", "--trainer", trainer)
    assert (code, out) == (5, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("The trainer cannot check data: ")
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["@/none.yaml"],
            4,
            "none.yaml: A data set must be a YAML file, a COCO JSON file or a folder with COCO JSON, but it does not",
        ),
        (["@"], 4, "but got a folder"),
        (["@/images/train/good00.jpg"], 4, "must be UTF-8 text"),
        (["sample:3"], 4, "at least 8 training images"),
        (["@/dataset.yaml", "--html", "/none/page.html"], 2, "--html must be a writable file"),
        (["@/dataset.yaml", "--html", "/tmp"], 2, "--html must be a writable file"),
        (["@/dataset.yaml", "--fix", "@/clean"], 4, "must be outside the data set, but got a folder inside"),
        (["@/dataset.yaml", "--places", "-1"], 2, "--places"),
        ([], 2, "DATA"),
    ],
)
def test_wrong_input_is_reported_before_anything_is_checked(dirty, tune, arguments, code, said):
    found, out, err = tune("data", "check", *(argument.replace("@", str(dirty.root)) for argument in arguments))
    assert found == code
    assert said in err
    assert not out
    assert "Traceback" not in err


# Output


def made(**changes: object) -> DataReport:
    """Return a small report."""
    report = DataReport(
        data="/data/set.yaml",
        root="/data",
        splits={name: SplitFacts(images=2, usable=2, background=0, unlabelled=0, boxes=3) for name in ("train", "val")},
        classes=(ClassFacts(name="cat", images={"train": 2, "val": 2}, boxes={"train": 3, "val": 3}),),
        sizes=SizeFacts(
            imgsz=640,
            image_sizes=((640, 480, 4),),
            small=0.5,
            medium=0.25,
            large=0.25,
            median_side=40.0,
            tiny=0.0,
            boxes_per_image=1.5,
        ),
        noise=None,
        findings=(),
        notes=(),
        left_out=(),
        advice=(),
        refusal="",
    )
    return replace(report, **changes)


EVIL = "<script>alert('&')</script>\x1b[31m"


def evil() -> DataReport:
    place = Place(file=f"/data/{EVIL}.txt", line=3, found=EVIL, other=f"/data/{EVIL}")
    finding = Finding(kind="class-id", level=Level.ERROR, split="train", what="rows", remedy="mend", places=(place,))
    return made(
        data=EVIL,
        findings=(finding,),
        classes=(ClassFacts(name=EVIL, images={"train": 1, "val": 1}, boxes={"train": 1, "val": 1}),),
        samples=(Sample(kind="class-id", split="train", place=place, jpeg="AAAA"),),
        notes=(EVIL,),
        refusal=EVIL,
    )


class Tags(HTMLParser):
    """Parser that collects the elements of a page and what they fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_page_runs_no_text_of_a_data_set_and_fetches_nothing():
    tags = Tags()
    tags.feed(data_check_page(evil()))
    names = {name for name, _ in tags.found}
    assert "script" not in names
    assert not {"link", "iframe", "object"} & names
    sources = [str(attributes["src"]) for _, attributes in tags.found if "src" in attributes]
    assert sources == ["data:image/jpeg;base64,AAAA"]


def test_no_name_in_a_data_set_controls_the_terminal():
    assert "\x1b" not in "\n".join(data_check_lines(evil(), places=3))


def test_the_most_and_the_least_frequent_of_many_classes_are_shown():
    classes = tuple(
        ClassFacts(name=f"class{n}", images={"train": n, "val": 0}, boxes={"train": n, "val": 0}) for n in range(100)
    )
    lines = list(data_check_lines(made(classes=classes), places=3))
    assert sum(line.startswith("class") for line in lines) == 20
    assert any(line.startswith("class99 ") for line in lines)
    assert any(line.startswith("class0 ") for line in lines)
    assert "... 80 more classes ..." in lines
