"""`tune train`: one full run, by a scripted trainer and by the real one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SCRIPTED_TRAINER
from tuner.cli.main import main
from tuner.contract import Stage
from tuner.exceptions import SpaceError
from tuner.training.arguments_file import default_parameters, overridden, read_parameters, warm_restart_of

SCRIPTED = f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds 0.02"


@pytest.fixture
def tune(tmp_path, monkeypatch, capfd):
    """Return a function that runs `tune train` in its own folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, trainer: str = SCRIPTED) -> tuple[int, str, str]:
        named = [] if "--data" in arguments else ["--data", "sample:16"]
        named += [] if "--model" in arguments else ["--model", "mamba-yolo-n"]
        given = ["train", *named, "--gpus", "0", "--trainer", trainer, *map(str, arguments)]
        with pytest.raises(SystemExit) as left:
            main(given)
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return run


WITH_8_GPUS = f"{SCRIPTED} --gpus 8"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--batch", 12), "got 8 for a batch of 12; use --gpus 1, or a batch of 16."),
        (("--batch", 20), "got 8 for a batch of 20; use --gpus 2, or a batch of 24."),
        (("--set", "batch=4"), "got 8 for a batch of 4; use --gpus 1, or a batch of 8."),
        (("--epochs", 4, "--stage", "2:64:64", "--stage", "4:96:36"), "got 8 for a batch of 36; use --gpus 4, or"),
    ],
)
def test_a_number_of_gpus_that_does_not_divide_the_batch_is_refused(tune, arguments, told):
    code, _, err = tune("--gpus", 8, *arguments, trainer=WITH_8_GPUS)
    assert code == 2
    assert err.startswith("--gpus must divide the batch evenly, but ")
    assert told in err


def test_few_images_on_each_gpu_are_allowed_on_request_and_reported(tune):
    code, out, _ = tune("--gpus", 8, "--batch", 16, "--epochs", 2, trainer=WITH_8_GPUS)
    assert code == 0
    assert "note   each of 8 GPUs gets 2 images of a batch, few for batch normalization; --gpus 2 or" in out
    assert ", on 8 GPUs\n" in out


@pytest.mark.parametrize(("batch", "number", "where"), [(16, 2, "2 GPUs"), (64, 8, "8 GPUs"), (4, 1, "one GPU")])
def test_without_a_number_a_run_uses_the_gpus_that_suit_its_batch(tmp_path, monkeypatch, capfd, batch, number, where):
    monkeypatch.chdir(tmp_path)
    named = ["--data", "sample:16", "--model", "mamba-yolo-n", "--epochs", "2", "--batch", str(batch)]
    with pytest.raises(SystemExit) as left:
        main(["train", *named, "--trainer", WITH_8_GPUS])
    out = capfd.readouterr().out
    assert not left.value.code
    assert f", on {where}\n" in out
    assert (f"note   the run uses {number} of 8 GPUs: with more, a batch of {batch} would not" in out) == (number < 8)


def test_a_run_reports_each_epoch_and_ends_with_its_weights(tune, tmp_path):
    code, out, err = tune("--epochs", 3, "--out", "run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch ")] == ["1/3", "2/3", "3/3"]
    assert any(line.startswith("best   mAP50-95 ") for line in lines)
    assert lines[-1].endswith("tune diagnose run")


def test_the_default_configuration_is_that_of_the_guide_and_the_default_folder_is_named_after_it(tune, tmp_path):
    assert tune("--epochs", 2)[0] == 0
    settings = json.loads((tmp_path / "runs/mamba-yolo-n-sample-16/tune-train.json").read_text())
    assert (settings["params.optimizer"], settings["params.lr0"], settings["params.mosaic"]) == ("SGD", 0.01, 1.0)
    assert (settings["params.patience"], settings["params.cos_lr"]) == (50, False)
    assert default_parameters().epochs == 300


def test_without_a_model_the_data_check_chooses_one_and_says_so(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["train", "--data", "sample:16", "--gpus", "0", "--trainer", f"{SCRIPTED} --advice mine", "--epochs", "2"])
    out, _ = capfd.readouterr()
    assert out.startswith("model  mine, suggested by the data check: as it is scripted;")
    assert (tmp_path / "runs/mine-sample-16/tune-train.json").is_file()


def test_the_model_of_a_file_of_parameters_is_not_chosen_again(tune, tmp_path, monkeypatch, capfd):
    (tmp_path / "params.yaml").write_text("data: sample:16\nmodel: mamba-yolo-b\noptimizer: SGD\nlr0: 0.02\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["train", "--params", "params.yaml", "--gpus", "0", "--trainer", SCRIPTED, "--epochs", "2"])
    assert "chosen" not in capfd.readouterr().out
    assert (tmp_path / "runs/mamba-yolo-b-sample-16").is_dir()


def test_a_run_that_was_begun_differently_is_refused_and_left_alone(tune, tmp_path):
    assert tune("--epochs", 2, "--out", "run")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    code, _, err = tune("--epochs", 3, "--set", "lr0=0.02", "--out", "run")
    assert code == 3
    assert len(err.splitlines()) == 1
    assert "epochs 2 -> 3; lr0 0.01 -> 0.02" in err
    kept = {path: path.read_bytes() for path in before if path.name not in ("tune-train.lock", "prepare.log")}
    assert kept == {path: before[path] for path in kept}


@pytest.mark.parametrize(("before", "now", "told"), [(1, 3, True), (2, 9, True), (3, 2, False)])
def test_asking_a_finished_run_for_more_epochs_shows_how_to_get_them(tune, before, now, told):
    assert tune("--epochs", before, "--out", "run")[0] == 0
    code, _, err = tune("--epochs", now, "--out", "run")
    assert code == 3
    assert ("--warm-restart" in err and "weights/last.pt with another --out" in err) == told


def test_a_file_without_an_optimizer_is_refused_before_anything_starts(tune, tmp_path):
    (tmp_path / "best_hyperparameters.yaml").write_text("lr0: 0.02\nmomentum: 0.9\nclose_mosaic: 9.0\n")
    code, out, err = tune("--params", "best_hyperparameters.yaml", "--out", "run")
    assert (code, out) == (3, "")
    assert "`optimizer` must be named" in err
    assert "--set optimizer=SGD" in err
    assert "same command" not in err
    assert not (tmp_path / "run").exists()
    named = ("--params", "best_hyperparameters.yaml", "--set", "optimizer=adamw", "--epochs", 2, "--out", "run")
    assert tune(*named)[0] == 0
    settings = json.loads((tmp_path / "run/tune-train.json").read_text())
    assert (settings["params.optimizer"], settings["params.close_mosaic"]) == ("AdamW", 9)


def test_skipped_arguments_are_reported_and_refused_ones_can_be_replaced(tune, tmp_path):
    (tmp_path / "args.yaml").write_text("optimizer: auto\nbatch: -1\ndevice: [0, 1]\nhalf: true\nepochs: 0\n")
    given = ("--set", "optimizer=SGD", "--batch", 8, "--epochs", 2)
    code, out, err = tune("--params", "args.yaml", "--out", "run", *given)
    assert (code, err) == (0, "")
    (note,) = [line for line in out.splitlines() if "ignored in" in line]
    assert note.startswith("note   ignored in args.yaml: device (`--gpus` and the machine decide); half (")


def test_a_run_resumes_with_and_without_determinism(tune, tmp_path):
    run = ("--epochs", 2, "--out", "run")
    assert tune(*run, "--set", "deterministic=false")[0] == 0
    assert "params.deterministic" not in (tmp_path / "run/tune-train.json").read_text()
    assert tune(*run)[0] == 0
    assert tune(*run, "--set", "deterministic=true")[0] == 0
    code, _, err = tune(*run, "--set", "deterministic=0")
    assert (code, err.count("\n")) == (3, 1)
    assert "`deterministic` takes true or false, but got 0" in err


def test_no_command_to_resume_is_shown_after_a_failure_that_would_recur(tune):
    code, _, err = tune("--epochs", 2, "--out", "run", trainer=f"{SCRIPTED} --fail broken")
    assert code == 5
    assert "The run ended (error): broken." in err
    assert "resumes it" not in err
    assert "fix the cause first" in err


def test_a_folder_with_weights_of_something_else_is_refused(tune, tmp_path):
    (tmp_path / "run/weights").mkdir(parents=True)
    code, _, err = tune("--epochs", 2, "--out", "run")
    assert code == 2
    assert "has weights of another run" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--set", "lr0=x"], 3, "`lr0` takes a number, but got 'x'"),
        (["--set", "lr=0.1"], 3, "did you mean lr0?"),
        (["--set", "lr0"], 3, "--set takes an argument and its value"),
        (["--set", "label_smoothing=0.1"], 3, "`label_smoothing` was removed from ultralytics"),
        (["--set", "device=0"], 3, "`device` is set by the tuner"),
        (["--set", "patience=-1"], 3, "`patience` must be a whole number of at least 0"),
        (["--stage", "3:64"], 2, "--stage must be last epoch, imgsz"),
        (["--stage", "3:65:8"], 2, "a multiple of 32"),
        (["--epochs", "3", "--stage", "2:64:8"], 2, "Stages must end at increasing epochs"),
        (["--epochs", "3", "--stage", "3:64:8", "--stage", "2:64:8"], 2, "Stages must end at increasing epochs"),
        (["--gpus", "99"], 5, "--gpus must be at most 0, the number of GPUs, but got 99"),
        (["--params", "none.yaml"], 3, "none.yaml: cannot be read"),
        (["--out", "/proc/run"], 5, "A run's folder must be writable"),
        (["--warm-restart", "nowhere"], 2, "--warm-restart takes the folder of a training run"),
        (["--batch", "many"], 2, "--batch must be a number of images, or auto"),
        (["--batch", "auto", "--stage", "300:64:8"], 2, "--batch auto measures a single image size"),
        (["--distill", "nowhere.pt"], 2, "--distill must be an existing .pt file of a trained model"),
        (["--model", "no-such-model"], 2, "no-such-model"),
        (["--model", "yolov8n-obb.yaml"], 2, "ends with OBB, the layer for oriented bounding boxes"),
        (["--model", "rtdetr-l.yaml"], 2, "ends with RTDETRDecoder, the layer for RT-DETR"),
    ],
)
def test_wrong_input_is_reported_in_one_line(tune, arguments, code, said):
    trainer = f"{sys.executable} -m trainer serve" if "--model" in arguments else SCRIPTED
    found, _, err = tune(*arguments, trainer=trainer)
    assert found == code, err
    assert said in err
    assert len(err.splitlines()) == 1, err


def test_a_teacher_that_is_not_a_checkpoint_is_refused_before_anything_trains(tune, tmp_path):
    teacher = tmp_path / "teacher.pt"
    teacher.write_bytes(b"onnx")
    found, out, err = tune("--distill", str(teacher), trainer=f"{sys.executable} -m trainer serve")
    assert found == 2, err
    assert f"The checkpoint '{teacher}' must be one that ultralytics saved" in err
    assert "epoch" not in out


def test_stages_reach_the_trainer(tmp_path):
    from tuner.contract import TrainRequest, decode, encode

    request = TrainRequest(
        study="",
        trial=0,
        params={},
        model="m",
        data="d",
        epochs=4,
        stop_epoch=4,
        validation_epochs=(4,),
        seed=0,
        devices=(),
        threads=1,
        directory="/x",
        stages=(Stage(last_epoch=2, imgsz=64, batch=8), Stage(last_epoch=4, imgsz=96, batch=4)),
    )
    assert decode(encode(request)) == request


def test_ctrl_c_ends_the_run_cleanly_and_the_same_command_resumes_it(tmp_path):
    command = [sys.executable, "-m", "tuner", "train", "--data", "sample:16", "--gpus", "0", "--epochs", "40"]
    command += ["--model", "mamba-yolo-n", "--out", str(tmp_path / "run")]
    command += ["--trainer", f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds 0.2"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdout is not None
    told = []
    for line in child.stdout:
        told.append(line)
        if line.startswith("epoch  3/"):
            break
    os.kill(child.pid, signal.SIGINT)
    assert child.wait(timeout=30) == 130
    again = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert again.stdout is not None
    for line in again.stdout:
        if line.startswith("epoch  5/"):
            break
    again.terminate()
    assert again.wait(timeout=30) == 143


# Files of arguments


def test_files_of_tune_export_and_ultralytics_are_read(tmp_path):
    file = tmp_path / "args.yaml"
    file.write_text(
        "%YAML 1.1\n---\ntask: detect\nmode: train\nmodel: mamba-yolo-t\ndata: /d.yaml\nepochs: 300\nseed: 3\n"
        "patience: 100\nbatch: 32\nlr0: 1.0e-05\noptimizer: AdamW\ncos_lr: true\nfreeze: null\ndevice: '0'\n"
        "save_dir: /x\ndropout: 0.0\nclasses: null\n"
    )
    read = read_parameters(file)
    assert (read.model, read.data, read.epochs, read.seed) == ("mamba-yolo-t", "/d.yaml", 300, 3)
    assert read.params == {"patience": 100, "batch": 32, "lr0": 1e-5, "optimizer": "AdamW", "cos_lr": True}


def test_each_wrong_argument_of_a_file_is_named_with_its_line(tmp_path):
    file = tmp_path / "args.yaml"
    file.write_text("lr0: fast\nlearning_rate: 0.1\noptimizer: auto\nbatch: [1, 2]\nepochs: 0\nlabel_smoothing: 0.1\n")
    with pytest.raises(SpaceError) as refused:
        read_parameters(file)
    lines = str(refused.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{file}:{number}" for number in range(1, 7)]
    assert "did you mean lr0?" in lines[1]


@pytest.mark.parametrize("text", ["", "- 1\n", "lr0: [\n", "lr0: 1\nlr0: 2\n", "{" * 100])
def test_text_that_is_not_a_list_of_arguments_is_refused(tmp_path, text):
    file = tmp_path / "args.yaml"
    file.write_text(text)
    with pytest.raises(SpaceError, match=r"args\.yaml:\d+: "):
        read_parameters(file)


def test_the_command_line_overrides_the_file():
    given = overridden(default_parameters(), ["lr0=0.5", "cos_lr=true", "epochs=7", "seed=0"])
    assert (given.params["lr0"], given.params["cos_lr"], given.epochs, given.seed) == (0.5, True, 7, 0)


@pytest.mark.parametrize(("optimizer", "lr0"), [("SGD", 0.005), ("AdamW", 0.0005), ("Adam", 0.0005)])
def test_a_warm_restart_takes_the_best_weights_and_a_higher_rate_for_a_short_while(tmp_path, optimizer, lr0):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/best.pt").write_bytes(b"")
    (tmp_path / "args.yaml").write_text(f"optimizer: {optimizer}\nlr0: 0.01\nbatch: 16\nepochs: 300\nmodel: m.yaml\n")
    restarted = warm_restart_of(tmp_path)
    assert (restarted.params["lr0"], restarted.params["batch"], restarted.epochs) == (lr0, 16, 50)
    assert restarted.model == str(tmp_path / "weights/best.pt")


def test_the_real_trainer_trains_in_stages_leaves_everything_in_one_folder_and_can_be_restarted(tmp_path):
    tune = [sys.executable, "-m", "tuner", "train", "--data", "sample:16", "--gpus", "0", "--set", "batch=8"]
    model = ["--model", "mamba-yolo-n"]
    staged = ["--stage", "1:32:4", "--stage", "2:64:8", "--epochs", "2", "--out", "run"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [*tune, *model, *staged], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    decoded = list((tmp_path / "cache/mamba-yolo-tuner/decoded").glob("??/*"))
    assert len(decoded) == 2 * len(list((tmp_path / "cache").rglob("images/*/*.*"))), "each image at each size"
    run = tmp_path / "run"
    for name in ("weights/best.pt", "weights/last.pt", "results.csv", "results.png", "args.yaml", "labels.jpg"):
        assert (run / name).is_file(), name
    for name in ("confusion_matrix.png", "confusion_matrix_normalized.png", "BoxPR_curve.png", "val_batch0_pred.jpg"):
        assert (run / name).is_file(), name
    again = ["--warm-restart", "run", "--epochs", "1", "--set", "imgsz=64"]
    done = subprocess.run([*tune, *again], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "from the weights" in done.stdout
    assert Path(tmp_path / "runs/run-again-sample-16/weights/best.pt").is_file()


@pytest.mark.slow
def test_weights_are_copied_to_a_second_place_that_counts_from_the_working_directory(tmp_path):
    tune = [sys.executable, "-m", "tuner", "train", "--data", "sample:16", "--gpus", "0", "--set", "batch=8"]
    options = ["--model", "mamba-yolo-n", "--set", "imgsz=32", "--epochs", "1", "--out", "run", "--backup", "elsewhere"]
    done = subprocess.run([*tune, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "elsewhere/best.pt").read_bytes() == (tmp_path / "run/weights/best.pt").read_bytes()


def test_a_measured_batch_is_kept_when_the_run_resumes(tune, tmp_path):
    code, out, _ = tune("--epochs", 2, "--out", "run", "--batch", "auto")
    assert code == 0
    assert "batch  measuring the largest batch that fits into memory" in out
    batch = json.loads((tmp_path / "run/tune-train.json").read_text())["params.batch"]
    assert f"batch  {batch}: " in out
    code, out, _ = tune("--epochs", 2, "--out", "run", "--batch", "auto")
    assert code == 0
    assert "measuring" not in out


def test_the_smallest_of_several_gpus_limits_a_measured_batch_and_is_named(tune):
    """Measure on the first GPU, which has 80 GiB; an image of 640 pixels takes two."""
    trainer = f"{SCRIPTED} --gpus 1 --small-gpus 1 --gib {640**2 / 2}"
    code, out, _ = tune("--gpus", 2, "--epochs", 1, "--batch", "auto", trainer=trainer)
    assert code == 0
    assert "batch  16: 16.0 of 23.5 GiB on each device, as small, the smallest, has no more" in out
    code, out, _ = tune("--gpus", 1, "--epochs", 1, "--batch", "auto", "--out", "one", trainer=trainer)
    assert code == 0
    assert "batch  32: 64.0 of 80.0 GiB on each device\n" in out


@pytest.mark.slow
def test_a_batch_is_measured_by_real_steps_and_fits(tmp_path):
    tune = [sys.executable, "-m", "tuner", "train", "--data", "sample:16", "--gpus", "0", "--set", "imgsz=64"]
    options = ["--model", "mamba-yolo-n", "--epochs", "1", "--out", "run", "--batch", "auto"]
    done = subprocess.run([*tune, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "batch  16: " in done.stdout, "all there are"
    assert "batch: 16" in (tmp_path / "run/args.yaml").read_text()
