"""Make the winner's card: what the final run's best.pt reaches, needs and costs; kept as JSON in the study's folder."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from tuner.contract import (
    ContractError,
    MeasuredRecord,
    MeasureRequest,
    Outcome,
    Params,
    Record,
    decode,
    encode,
)
from tuner.exceptions import MachineError
from tuner.execution.single_request import ask
from tuner.study import FinalRunFacts, ReadableStudy, StudyPaths, jsonable
from tuner.system.atomic_files import write_whole
from tuner.system.scratch import scratch_folder

CARD_VERSION = 1
"""Version of the file; a change of meaning raises it."""

_DEFAULT_IMGSZ = 640
"""Image size of ultralytics, for a space that does not mention it."""

_TIMEOUT_S = 600.0
"""Time for the whole measurement: the export of a large model with a scan takes minutes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WinnersCard:
    """Facts about the detector that a study found."""

    study: str
    trial: int
    epochs: int
    """Length of the final run."""
    params: Params
    metrics: Mapping[str, float]
    """Metrics of best.pt on the validation split, 0..1."""
    weights: str
    """Absolute path of best.pt."""
    weights_sha256: str
    measured: MeasuredRecord

    def values(self) -> dict[str, Any]:
        """Return the card as JSON values."""
        values = {
            "version": CARD_VERSION,
            **{name: getattr(self, name) for name in ("study", "trial", "epochs")},
            "params": dict(self.params),
            "metrics": dict(self.metrics),
            **{name: getattr(self, name) for name in ("weights", "weights_sha256")},
            "measured": json.loads(encode(self.measured)),
        }
        return {name: jsonable(value) for name, value in values.items()}


def read_card(study: ReadableStudy, paths: StudyPaths) -> WinnersCard | None:
    """Read the card of the study's complete final run; None if there is none that can be read."""
    run = study.final_run
    try:
        body = json.loads(paths.card.read_text(encoding="utf-8"))
        card = _decoded(body, paths.root) if body.get("version") == CARD_VERSION else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ContractError):
        return None
    is_of_run = run is not None and card is not None and (run.trial, run.epochs) == (card.trial, card.epochs)
    return card if is_of_run else None


def make_card(study: ReadableStudy, paths: StudyPaths, trainer: Sequence[str]) -> WinnersCard | None:
    """Have the trainer measure best.pt of the final run, and write the card; an earlier card of the same file is kept.

    Args:
        study: Study of the final run.
        paths: Paths of the study.
        trainer: Command of the trainer.

    Returns:
        The card; None if no final run is complete.

    Raises:
        MachineError: The weights cannot be read, the trainer cannot measure them, or the card cannot be written.
    """
    run = study.final_run
    if run is None or run.state != TrialState.COMPLETE.name or not run.checkpoint:
        return None
    try:
        digest = _sha256(Path(run.checkpoint))
    except OSError as error:
        raise MachineError(f"The weights '{run.checkpoint}' cannot be read ({error.strerror})") from error
    known = read_card(study, paths)
    if known is not None and known.weights_sha256 == digest:
        return known
    card = _measured_card(study, run, digest, trainer)
    try:
        write_whole(paths.card, _encoded(card, paths.root))
    except OSError as error:
        raise MachineError(f"'{paths.card}' cannot be written ({error.strerror})") from error
    return card


def _measured_card(study: ReadableStudy, run: FinalRunFacts, digest: str, trainer: Sequence[str]) -> WinnersCard:
    params = study.trials()[run.trial].params
    return WinnersCard(
        study=study.name,
        trial=run.trial,
        epochs=run.epochs,
        params=params,
        metrics=run.metrics or {},
        weights=run.checkpoint,
        weights_sha256=digest,
        measured=_measured(run, int(params.get("imgsz", _DEFAULT_IMGSZ)), trainer),
    )


def _measured(run: FinalRunFacts, imgsz: int, trainer: Sequence[str]) -> MeasuredRecord:
    found: MeasuredRecord | None = None

    def listen(record: Record) -> None:
        nonlocal found
        if isinstance(record, MeasuredRecord):
            found = record

    with scratch_folder() as scratch:
        folder = scratch / "measure"
        folder.mkdir(exist_ok=True)
        request = MeasureRequest(
            weights=run.checkpoint,
            imgsz=imgsz,
            use_gpu=run.gpus > 0,
            threads=len(os.sched_getaffinity(0)),
            directory=str(folder),
        )
        end = ask(trainer, request, listen, timeout_s=_TIMEOUT_S)
    if end.outcome != Outcome.COMPLETED or found is None:
        raise MachineError(f"The trainer cannot measure the weights: {end.message or end.outcome}")
    return found


def _encoded(card: WinnersCard, folder: Path) -> bytes:
    """Return the content of the file; the weights are named by their place in the study's folder, which may move."""
    weights = Path(card.weights)
    inside = weights.relative_to(folder) if weights.is_relative_to(folder) else weights
    return (json.dumps({**card.values(), "weights": str(inside)}, indent=1) + "\n").encode()


def _decoded(body: Mapping[str, Any], folder: Path) -> WinnersCard:
    measured = decode(json.dumps(body["measured"]))
    if not isinstance(measured, MeasuredRecord):
        raise TypeError("the measurement is another record")
    return WinnersCard(
        study=str(body["study"]),
        trial=int(body["trial"]),
        epochs=int(body["epochs"]),
        params=dict(body["params"]),
        metrics={str(name): float(value) for name, value in body["metrics"].items()},
        weights=str(folder / body["weights"]),
        weights_sha256=str(body["weights_sha256"]),
        measured=measured,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
