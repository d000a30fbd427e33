"""The request that a checkpoint belongs to, and the identity of a model wherever its file is."""

import json
import shutil
from dataclasses import replace

import pytest

from trainer.models import model_yaml
from trainer.training.trial import _identity, _is_same
from trainer.ultralytics_bridge.models import digest, locate
from tuner.contract import TrainRequest

REQUEST = TrainRequest(
    study="s",
    trial=1,
    params={"lr0": 0.01, "batch": 8},
    model="/old/m.pt",
    data="/old/data.yaml",
    epochs=5,
    stop_epoch=5,
    validation_epochs=(5,),
    seed=0,
    devices=(),
    threads=1,
    directory="/old/trials/0001",
    data_sha256="d",
    model_sha256="m",
)
MOVED = replace(REQUEST, model="/new/m.pt", data="/new/data.yaml", directory="/new/trials/0001")


def is_same(one, other):
    return _is_same(json.loads(json.dumps(_identity(one))), _identity(other))


def test_a_checkpoint_belongs_to_a_request_with_the_same_content_wherever_it_is():
    assert is_same(REQUEST, MOVED)


@pytest.mark.parametrize(
    "other",
    [
        replace(MOVED, model_sha256="other"),
        replace(MOVED, data_sha256="other"),
        replace(MOVED, params={"lr0": 0.02, "batch": 8}),
        replace(MOVED, seed=1),
        replace(MOVED, max_images=8),
        replace(MOVED, data_sha256=""),
    ],
)
def test_a_checkpoint_does_not_belong_to_a_request_with_other_content(other):
    assert not is_same(REQUEST, other)


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_checkpoint_belongs_to_the_run_whether_it_resumes_deterministic_or_not(deterministic):
    other = replace(MOVED, params={**REQUEST.params, "deterministic": deterministic})
    assert is_same(REQUEST, other)
    assert is_same(other, REQUEST)


def test_without_hashes_paths_are_compared():
    unknown = replace(REQUEST, data_sha256="", model_sha256="")
    assert is_same(unknown, unknown)
    assert is_same(unknown, REQUEST), "written before there were hashes"
    assert not is_same(unknown, replace(unknown, data="/new/data.yaml"))
    for nonsense in ([], "text", None, {}):
        assert not _is_same(nonsense, _identity(REQUEST))


def test_a_model_is_its_layers_and_its_scale_or_its_weights(tmp_path):
    source = model_yaml("mamba-yolo-t")
    copy = tmp_path / source.name
    shutil.copy(source, copy)
    assert digest(locate(str(copy))) == digest(locate("mamba-yolo-t"))
    copy.write_text(copy.read_text() + "# a comment\n")
    assert digest(locate(str(copy))) == digest(locate("mamba-yolo-t"))
    assert digest("yolov8n.yaml") != digest("yolov8s.yaml"), "one file, two scales"
    weights = tmp_path / "a.pt"
    weights.write_bytes(b"weights")
    before = digest(str(weights))
    assert digest(str(weights.rename(tmp_path / "b.pt"))) == before
    (tmp_path / "b.pt").write_bytes(b"others")
    assert digest(str(tmp_path / "b.pt")) != before
