"""Find the data set and the model of an existing study after they were moved."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tuner.contract import PreparedRecord
from tuner.exceptions import DataError, SpaceError, UsageError
from tuner.execution.prepare import prepared_by
from tuner.study import StudyPaths, StudySpec, content_changes


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """A study as a trainer finds it now."""

    spec: StudySpec
    """Spec of the study with current paths."""
    prepared: PreparedRecord


def in_place(spec: StudySpec) -> bool:
    """Check whether all files that the study's trials and its params.yaml name exist."""
    named = (*spec.sources, spec.data_source, spec.portable_model)
    return all(Path(place).exists() for place in named if Path(place).is_absolute())


def prepared_again(
    name: str, spec: StudySpec, paths: StudyPaths, trainer: Sequence[str], *, data: str | None, model: str | None
) -> Places:
    """Have the trainer prepare an existing study again.

    Args:
        name: Name of the study.
        spec: Spec as it was stored.
        paths: Paths of the study.
        trainer: Command of the trainer.
        data: New location of the data set; None if it has not moved.
        model: New location of the model; None if it has not moved.

    Raises:
        DataError: the data set is missing, or cannot be trained on.
        UsageError: the model is missing.
        SpaceError: the content of one of them has changed.
        MachineError: the trainer does not work.
    """
    data, model = data or spec.data, model or spec.model
    try:
        prepared = prepared_by(trainer, data, model, paths.root)
    except DataError as error:
        raise DataError(f"{error} If the data set of '{name}' was moved, give its new path with --data.") from error
    except UsageError as error:
        raise UsageError(f"{error} If the model of '{name}' was moved, give its new path with --model.") from error
    changes = content_changes(spec, prepared, data=data, model=model)
    if changes:
        raise SpaceError(
            f"The study '{name}' was created with different settings: {'; '.join(changes)}. "
            "Undo the change, or start a new study."
        )
    now = replace(
        spec,
        data=data,
        model=model,
        data_source=prepared.data,
        model_source=prepared.model,
        portable_model=prepared.portable_model,
        model_sha256=prepared.model_sha256,
        sources=prepared.sources,
    )
    return Places(spec=now, prepared=prepared)
