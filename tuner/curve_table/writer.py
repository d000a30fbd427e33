"""Write every epoch of every ended trial of one or more studies into one table, a parquet file.

docs/curves.md describes the format.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from optuna.trial import TrialState

from tuner.contract import METRICS
from tuner.curve_table.schema import FORMAT_VERSION, LOSS_PREFIX, METADATA_KEY, as_stored, schema_of
from tuner.exceptions import MachineError, UsageError
from tuner.space import Space, space_of
from tuner.study import ReadableStudy, StudyPaths, StudySpec, TrialRecord, epoch_records
from tuner.system.atomic_files import write_whole

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedStudy:
    """A study, and the folder with the files of its trials."""

    study: ReadableStudy
    paths: StudyPaths


def write_curves(path: Path, studies: Sequence[RecordedStudy]) -> int:
    """Write the curves of all ended trials, completely or not at all; return the number of trials.

    Raises:
        UsageError: no trial has ended, or the studies differ in more than seed, rungs and trials.
        MachineError: the file cannot be written.
    """
    specs = [recorded.study.spec for recorded in studies]
    _check_comparable({recorded.study.name: spec for recorded, spec in zip(studies, specs, strict=True)})
    space = _space_of(specs[0])
    rows = [row for recorded in studies for row in _rows(recorded, space)]
    if not rows:
        names = ", ".join(recorded.study.name for recorded in studies)
        raise UsageError(f"A table of curves needs trials that have ended, but {names} has none; continue the study.")
    losses = sorted({name for row in rows for name in row if name.startswith(LOSS_PREFIX)})
    schema = schema_of(space, losses).with_metadata({METADATA_KEY: json.dumps(_metadata(specs)).encode()})
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema), buffer, compression="zstd", use_dictionary=True)
    _write(path, buffer.getvalue().to_pybytes())
    return len({(row["study"], row["trial"]) for row in rows})


def _check_comparable(specs: Mapping[str, StudySpec]) -> None:
    """Check that the studies agree in everything that the table states once for all rows."""
    (first, expected), *others = ((name, _common(spec)) for name, spec in specs.items())
    for name, common in others:
        different = [part for part in common if common[part] != expected[part]]
        if different:
            raise UsageError(
                "Studies in one table may only differ in seed, rungs and trials, but "
                f"'{name}' differs from '{first}' in {', '.join(different)}; export it to a separate file."
            )


def _space_of(spec: StudySpec) -> Space:
    return space_of(spec.space, name=spec.space_name)


def _common(spec: StudySpec) -> dict[str, object]:
    space = _space_of(spec)  # in its current form, whatever the version of its record
    return {
        "parameters": space.parameters,
        "baseline": space.baseline,
        "epochs": spec.epochs,
        "metric": spec.metric,
        "model": spec.model,
        "data set": spec.data_sha256,
    }


def _metadata(specs: Sequence[StudySpec]) -> dict[str, object]:
    first = specs[0]
    packages = sorted({package for spec in specs for package in spec.versions})
    return {
        "format": FORMAT_VERSION,
        "space_name": first.space_name,
        "space": _space_of(first).canonical(),
        "metric": first.metric,
        "epochs": first.epochs,
        "model": first.model,
        "data": first.data,
        "data_sha256": first.data_sha256,
        "num_images": first.num_images,
        "versions": {
            package: ", ".join(sorted({spec.versions[package] for spec in specs if package in spec.versions}))
            for package in packages
        },
    }


def _rows(recorded: RecordedStudy, space: Space) -> Iterator[dict[str, Any]]:
    """Yield the epochs of each ended trial; a single epoch 0 for a trial without epochs."""
    spec = recorded.study.spec
    for trial in recorded.study.trials():
        if trial.state not in _ENDED:
            continue
        of_trial = {
            "study": recorded.study.name,
            "trial": trial.number,
            "seed": spec.seed,
            "state": trial.state.name,
            "reason": trial.reason,
            **{p.label: as_stored(p, trial.sampled[p.label]) for p in space.searched if p.label in trial.sampled},
        }
        values = _values(trial, spec, recorded.paths.trial(trial.number))
        for epoch, of_epoch in sorted(values.items()) or [(0, {})]:
            yield {**of_trial, "epoch": epoch, **of_epoch}


def _values(trial: TrialRecord, spec: StudySpec, folder: Path) -> dict[int, dict[str, Any]]:
    """Collect the values of each epoch from the trainer's records, and from the study if the records are gone."""
    values: dict[int, dict[str, Any]] = {epoch: {spec.metric: value} for epoch, value in trial.curve.items()}
    for record in epoch_records(folder):
        values.setdefault(record.epoch, {}).update(
            {name: value for name, value in (record.metrics or {}).items() if name in METRICS},
            **{f"{LOSS_PREFIX}{name}": loss for name, loss in record.losses.items()},
            seconds=record.seconds,
            memory_gib=record.memory_gib,
            learning_rate=record.learning_rate,
            batch_trained=record.batch,
        )
    return values


def _write(target: Path, content: bytes) -> None:
    try:
        write_whole(target, content)
    except OSError as error:
        raise MachineError(
            f"The table must be writable, but '{target}' is not ({error.strerror}); choose another file with --curves."
        ) from error
