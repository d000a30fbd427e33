"""Prepare the data set and the model of a run on the machine that trains it, if the tuner may be on another one."""

import hashlib
import platform
from dataclasses import replace
from pathlib import Path

from trainer.data import dataset
from trainer.data.checking import check
from trainer.data.dataset_writer import write_resolved
from trainer.data.opening import CONVERTED, opened
from trainer.exceptions import DataError, ModelError
from trainer.system import atomic_files
from trainer.system.cache import cache_folder
from trainer.ultralytics_bridge import models
from tuner.contract import TrainRequest


def prepared(request: TrainRequest) -> TrainRequest:
    """Return a request with the data set and the model of this machine, in place of those that the user named.

    Raises:
        DataError: The data set is missing here, cannot be used, or is another one than the tuner's.
        ModelError: The same for the model.
    """
    if request.shares_files:
        return request
    model = models.locate(request.model)
    if request.model_sha256 and models.digest(model) != request.model_sha256:
        raise ModelError(
            f"All machines must have the same model, but '{request.model}' on {platform.node()} is another one; copy "
            "it there."
        )
    return replace(request, data=str(_data(request.data, request.data_sha256)), model=model)


def _data(data: str, sha256: str) -> Path:
    """Return the YAML of a checked data set; the first run on a machine prepares it for all others."""
    folder = cache_folder() / "prepared" / hashlib.sha256(f"{data}\n{sha256}".encode()).hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_files.held(folder / "data.lock"):
        file, done = folder / "data.yaml", folder / "done"
        if done.exists() and _is_in_place(file):
            return file
        found = opened(data, folder / CONVERTED)
        report = check.checked(found)
        if report.refusal:
            raise DataError(report.refusal)
        trained = check.usable(found, report)
        if sha256 and dataset.fingerprint(trained) != sha256:
            raise DataError(
                f"All machines must have the same data set, but '{data}' on {platform.node()} is another one; copy it "
                "there, or give a URL with --data."
            )
        write_resolved(trained, file)
        done.touch()
        return file


def _is_in_place(file: Path) -> bool:
    """Check whether the first image of each split of a prepared data set exists."""
    lists = list(file.parent.glob(f"{file.stem}.*.txt"))
    firsts = [text.partition("\n")[0] for text in (path.read_text(encoding="utf-8") for path in lists)]
    return bool(firsts) and all((file.parent / first).exists() for first in firsts)
