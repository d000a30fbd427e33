"""Checkpoints that run a program when they are unpickled, at every place that loads checkpoints."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import hear_all, users_environment
from trainer.run_state.checkpoints import BEST, LAST, LISTING, PREVIOUS
from trainer.ultralytics_bridge import environment
from tuner.contract import EndRecord, EpochRecord, Outcome, PrepareRequest, decode

environment.configure()

from ultralytics.utils.torch_utils import strip_optimizer  # noqa: E402 - only after the environment is set

from trainer.exceptions import ModelError  # noqa: E402
from trainer.system import atomic_files  # noqa: E402
from trainer.training import distributed, trial  # noqa: E402
from trainer.ultralytics_bridge import checkpoints  # noqa: E402


class Running:
    """Calls `function(*arguments)` when it is unpickled."""

    def __init__(self, function, *arguments) -> None:
        self._call = function, arguments

    def __reduce__(self):
        return self._call


def saved(content, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def command(marker: Path) -> str:
    return f"touch '{marker}'"


def by_os_system(good, marker):
    return saved({"model": Running(os.system, command(marker))})


def by_eval(good, marker):
    return saved({"model": Running(eval, f"open({str(marker)!r}, 'w').close()")})


def inside_the_optimizer(good, marker):
    checkpoint = checkpoints.load(good)[1]
    checkpoint["optimizer"]["state"][0]["exp_avg"] = Running(os.system, command(marker))
    return saved(checkpoint)


def among_the_arguments(good, marker):
    checkpoint = checkpoints.load(good)[1]
    checkpoint["train_args"]["imgsz"] = Running(os.system, command(marker))
    return saved(checkpoint)


def in_a_legacy_file(good, marker):
    return saved({"model": Running(os.system, command(marker))}, _use_new_zipfile_serialization=False)


def in_a_bare_pickle(good, marker):
    return pickle.dumps({"model": Running(os.system, command(marker))}, protocol=2)


def in_a_handmade_archive(good, marker):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("weights/data.pkl", pickle.dumps(Running(os.system, command(marker)), protocol=2))
        archive.writestr("weights/byteorder", "little")
        archive.writestr("weights/version", "3\n")
    return buffer.getvalue()


def by_the_activation_of_its_yaml(good, marker):
    model, checkpoint = checkpoints.load(good)
    model.yaml["activation"] = f"__import__('os').system({command(marker)!r}) or torch.nn.SiLU()"
    return saved(checkpoint)


PICKLES = (
    by_os_system,
    by_eval,
    inside_the_optimizer,
    among_the_arguments,
    in_a_legacy_file,
    in_a_bare_pickle,
    in_a_handmade_archive,
)
EVIL = (*PICKLES, by_the_activation_of_its_yaml)


@pytest.fixture(scope="module")
def interrupted(trainer, make_request, tmp_path_factory):
    """Train one of the two epochs of a trial, and return its request."""
    request = make_request(tmp_path_factory.mktemp("interrupted") / "run", epochs=2, validation_epochs=(1,))
    trainer.send(replace(request, stop_epoch=1))
    assert hear_all(trainer)[-1].outcome == Outcome.COMPLETED
    return request


@pytest.fixture(scope="module")
def good(interrupted) -> Path:
    """Return a checkpoint from a trial's folder: half-precision average, optimizer, arguments."""
    return Path(interrupted.directory) / "weights" / LAST


def one_line_of_a_bad_model(end: EndRecord) -> bool:
    return end.outcome == Outcome.BAD_MODEL and "\n" not in end.message and not end.retryable


@pytest.mark.parametrize("evil", EVIL)
def test_a_model_that_would_run_something_is_refused_before_and_in_training(
    trainer, good, make_request, tmp_path, evil
):
    marker, path = tmp_path / "marker", tmp_path / "evil.pt"
    path.write_bytes(evil(good, marker))
    trainer.send(PrepareRequest(data=make_request(tmp_path).data, model=str(path), directory=str(tmp_path)))
    prepared = hear_all(trainer)[-1]
    trainer.send(replace(make_request(tmp_path / "run"), model=str(path)))
    trained = hear_all(trainer)[-1]
    assert one_line_of_a_bad_model(prepared), prepared
    assert one_line_of_a_bad_model(trained), trained
    assert trained.message == prepared.message
    assert str(path) in prepared.message
    assert not marker.exists()


def test_unpickling_that_ultralytics_asks_for_is_refused(good, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "evil.pt"
    path.write_bytes(inside_the_optimizer(good, marker))
    assert strip_optimizer(path) == {}
    assert not marker.exists()


def test_the_message_names_what_was_refused_and_the_remedy(good, tmp_path):
    (tmp_path / "evil.pt").write_bytes(by_os_system(good, tmp_path / "marker"))
    with pytest.raises(ModelError, match=r"but has 'posix.system'; use weights from a trusted source"):
        checkpoints.load(tmp_path / "evil.pt")


def test_a_model_description_is_not_evaluated(trainer, good, make_request, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "evil.yaml"
    evaluated = f"__import__('os').system({command(marker)!r}) or torch.nn.SiLU()"
    path.write_text(f"nc: 6\nactivation: {json.dumps(evaluated)}\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\nhead: []\n")
    trainer.send(PrepareRequest(data=make_request(tmp_path).data, model=str(path), directory=str(tmp_path)))
    assert one_line_of_a_bad_model(hear_all(trainer)[-1])
    assert not marker.exists()


def planted(weights: Path, name: str, content: bytes) -> None:
    """Plant a checkpoint and list its digest, so that only the loader can refuse it."""
    listing = json.loads((weights / LISTING).read_text())
    (weights / name).unlink(missing_ok=True)
    (weights / name).write_bytes(content)
    (weights / LISTING).write_text(json.dumps(listing | {atomic_files.sha256(weights / name): 1}))


@pytest.mark.parametrize("evil", [inside_the_optimizer, in_a_legacy_file])
def test_a_malicious_checkpoint_planted_in_a_trial_is_not_resumed_from(trainer, good, interrupted, tmp_path, evil):
    marker = tmp_path / "marker"
    shutil.copytree(interrupted.directory, tmp_path / "run")
    for name in (LAST, PREVIOUS, BEST):
        planted(tmp_path / "run" / "weights", name, evil(good, marker))
    trainer.send(replace(interrupted, directory=str(tmp_path / "run"), stop_epoch=1))
    records = hear_all(trainer)
    assert records[-1].outcome == Outcome.COMPLETED
    assert [record.epoch for record in records if isinstance(record, EpochRecord)] == [1]
    log = (tmp_path / "run" / "trainer.log").read_text()
    assert "starting from scratch; refused last.pt: The checkpoint" in log
    assert "posix.system" in log
    assert not marker.exists()


@pytest.mark.parametrize("is_listed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_malicious_checkpoint_planted_as_the_best_of_a_full_run_is_not_evaluated(
    good, make_request, tmp_path, is_listed
):
    marker, weights = tmp_path / "marker", tmp_path / "run" / "weights"

    def plant(record):
        if not isinstance(record, EpochRecord):
            return
        content = inside_the_optimizer(good, marker)
        if is_listed:
            planted(weights, BEST, content)
        else:
            (weights / BEST).unlink()
            (weights / BEST).write_bytes(content)

    request = make_request(tmp_path / "run", epochs=1, validation_epochs=(1,), full=True)
    end = trial.run(request, plant)
    assert not marker.exists()
    assert (end.outcome == Outcome.COMPLETED) == (not is_listed), "what nobody wrote is replaced, if it can be told"
    if not is_listed:
        assert checkpoints.load(end.checkpoint)[1]["epoch"] == -1, "evaluated and stripped"


def test_a_rank_of_a_run_on_several_devices_refuses_a_malicious_checkpoint_too(good, make_request, tmp_path):
    marker, path, run = tmp_path / "marker", tmp_path / "evil.pt", tmp_path / "run"
    path.write_bytes(inside_the_optimizer(good, marker))
    run.mkdir()
    request = make_request(run)
    overrides = trial._arguments(request) | {"model": str(path)}
    plan = distributed.write_plan(request, overrides, begins_stage=False)
    told, pipe = os.pipe()
    rank = [sys.executable, "-m", "trainer.commands.rank", str(plan), str(pipe)]
    environment = users_environment() | {"RANK": "0"}
    done = subprocess.run(rank, env=environment, capture_output=True, check=False, pass_fds=[pipe])
    assert done.returncode == 1
    assert not marker.exists()
    assert one_line_of_a_bad_model(decode(os.read(told, 65536).decode()))


def test_in_a_users_own_process_nothing_is_restricted_and_these_checkpoints_are_not_dummies(good, tmp_path):
    markers = {}
    for evil in EVIL:
        markers[evil] = tmp_path / f"{evil.__name__}.marker"
        (tmp_path / f"{evil.__name__}.pt").write_bytes(evil(good, markers[evil]))
    code = (
        "import sys, contextlib\n"
        "import trainer\n"
        "from ultralytics import YOLO\n"
        "for path in sys.argv[1:]:\n"
        "    with contextlib.suppress(Exception):\n"
        "        model = YOLO(path)\n"
        "        type(model.model)(model.model.yaml, verbose=False)\n"
    )
    paths = sorted(tmp_path.glob("*.pt"))
    subprocess.run([sys.executable, "-c", code, *paths], env=users_environment(), capture_output=True, check=True)
    assert [evil.__name__ for evil, marker in markers.items() if not marker.exists()] == []


@pytest.mark.parametrize("model", ["mamba-yolo-n", "yolov8n.yaml"])
def test_fine_tuning_transfers_every_tensor(trainer, prepared, make_request, tmp_path, model):
    first = make_request(tmp_path / "first", epochs=1)
    first = first if model == "mamba-yolo-n" else replace(first, model=model)
    trainer.send(first)
    assert hear_all(trainer)[-1].outcome == Outcome.COMPLETED
    weights = str(tmp_path / "first" / "weights" / BEST)
    num_tensors = len(checkpoints.load(weights)[0].state_dict())
    trainer.send(PrepareRequest(data=first.data, model=weights, directory=str(tmp_path)))
    assert hear_all(trainer)[-1].outcome == Outcome.COMPLETED
    trainer.send(replace(first, model=weights, directory=str(tmp_path / "second")))
    assert hear_all(trainer)[-1].outcome == Outcome.COMPLETED
    assert f"Transferred {num_tensors}/{num_tensors} items" in (tmp_path / "second" / "trainer.log").read_text()
