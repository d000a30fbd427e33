"""`tune preview`: the settings that it draws, and its output."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SCRIPTED_TRAINER
from tuner.exceptions import MachineError
from tuner.space import augmentation_of, find_space, load_space, parse_space
from tuner.workflows.preview import PreviewOptions, draw, settings_of

ROOT = Path(__file__).parents[3]
SEARCHED = ["sampled-1", "sampled-2", "sampled-3"]


def space_of(name):
    return load_space(find_space(name, ROOT))


def names_of(settings):
    return [setting.name for setting in settings]


def tune_preview(*arguments, cwd=ROOT, cache):
    command = [sys.executable, "-m", "tuner", "preview", *map(str, arguments)]
    environment = {"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT), "HOME": str(cache)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_strengths_are_the_presets_of_the_shipped_spaces():
    found = {setting.name: setting.params for setting in settings_of(None, imgsz=None, seed=0)}
    assert list(found) == ["weak", "medium", "strong"]
    for name, strength in (("weak", 0), ("medium", 0.5), ("strong", 1)):
        assert found[name].items() >= augmentation_of(strength).items()
        assert found[name]["imgsz"] == 640


def test_the_default_and_drawn_configurations_of_a_space_are_shown():
    space = space_of("full")
    settings = settings_of(space, imgsz=None, seed=0)
    assert names_of(settings) == ["weak", "medium", "strong", "default", *SEARCHED]
    assert settings[3].params == space.resolve(space.baseline_sampled())
    assert len({setting.params["hsv_h"] for setting in settings[4:]}) == 3


def test_the_same_seed_draws_the_same_configurations():
    space = space_of("strong_aug")
    assert settings_of(space, imgsz=None, seed=5) == settings_of(space, imgsz=None, seed=5)
    assert settings_of(space, imgsz=None, seed=5) != settings_of(space, imgsz=None, seed=6)


def test_nothing_is_drawn_from_a_space_that_searches_no_augmentation():
    assert names_of(settings_of(space_of("optimizer"), imgsz=None, seed=0))[3:] == ["default"]


@pytest.mark.parametrize("imgsz", [None, 320])
def test_all_sheets_have_the_size_of_the_option_or_of_the_space(imgsz):
    sizes = {setting.params["imgsz"] for setting in settings_of(space_of("quick"), imgsz=imgsz, seed=0)}
    assert sizes == {imgsz or 96}


def test_a_space_of_fixed_values_has_one_setting():
    parameters = "{optimizer: SGD, lr0: {float: [0.1, 0.2]}, mosaic: 0}"
    text = f"search: {{epochs: 9, trials: 2}}\nparameters: {parameters}\nbaseline: {{lr0: 0.1}}\n"
    (*_, default) = settings_of(parse_space(text, name="s", file="s.yaml"), imgsz=None, seed=0)
    assert (default.name, dict(default.params)) == ("default", {"optimizer": "SGD", "lr0": 0.1, "mosaic": 0.0})


def test_the_command_writes_the_sheets_and_says_what_comes_next(tmp_path):
    options = ("--data", "sample:8", "--imgsz", "64", "--images", "1", "--draws", "1", "--out", "looks at")
    done = tune_preview(*options, cwd=tmp_path, cache=tmp_path / "cache")
    assert (done.returncode, done.stderr) == (0, "")
    *files, note, follows = done.stdout.splitlines()
    assert files == [f"looks at/{name}.jpg" for name in ("weak", "medium", "strong")]
    assert all((tmp_path / file).stat().st_size > 1000 for file in files)
    assert note == "note: strong: copy_paste has no effect: it needs outlines, but the labels are boxes"
    assert follows.startswith("Next: ")
    assert follows.endswith("tune run --space medium_aug --data sample:8 --imgsz 64 --dry-run")


def test_a_trainer_that_dies_is_reported_with_its_exit_code(tmp_path):
    with pytest.raises(MachineError, match="cannot draw the sheets: the trainer ended with exit code 1"):
        draw(PreviewOptions(space=None, data="sample", directory=tmp_path), ["/bin/false"])


def test_a_trainer_that_draws_nothing_is_reported_in_one_line_with_exit_code_5(tmp_path):
    trainer = f"{sys.executable} {SCRIPTED_TRAINER}"
    done = tune_preview("--data", "sample:8", "--trainer", trainer, cwd=tmp_path, cache=tmp_path / "cache")
    assert (done.returncode, done.stdout) == (5, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("This needs a trainer that answers 'preview' requests, but ")
    assert "omit --trainer and TUNE_TRAINER" in line


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--imgsz", "100"], 2, "--imgsz must be at least 32 and a multiple of 32, but got 100; write 128."),
        (["--draws", "0"], 2, "--draws"),
        (["--space", "strong_augg"], 3, "did you mean strong_aug?"),
        (["--data", "nowhere.yaml"], 4, "does not exist"),
        (["--data", "sample:2"], 4, "at least 8 training images"),
        (["--data", "sample:8", "--out", "file/out"], 5, "choose another with --out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_reported_in_one_line_with_its_exit_code(tmp_path, options, code, said):
    (tmp_path / "file").write_text("mine")
    done = tune_preview(*options, cwd=tmp_path, cache=tmp_path / "cache")
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    if code > 2:
        assert len(done.stderr.splitlines()) == 1
