"""Export the winner's configuration as params.yaml, ready for `yolo train cfg=params.yaml`."""

import io
from pathlib import Path

from ruamel.yaml import YAML

from tuner.contract import FULL_RUN_DEFAULTS, ParamValue
from tuner.exceptions import MachineError
from tuner.study import ReadableStudy, StudySpec
from tuner.system.atomic_files import write_whole
from tuner.system.printable import printable
from tuner.training.final_run import Winner, full_run_params


def training_arguments(
    spec: StudySpec, winner: Winner, epochs: int, deterministic: bool | None = None
) -> dict[str, ParamValue]:
    """Return ultralytics' arguments for the winner's final run: what its trial used, including the batch.

    Args:
        spec: Specification of the study.
        winner: Winner of the search.
        epochs: Length of the final run.
        deterministic: Value of `deterministic` in the final run; None for that of the trial.
    """
    return {
        "task": "detect",
        "mode": "train",
        "model": spec.portable_model,
        "data": spec.data_source,
        "epochs": epochs,
        "seed": spec.seed,
        "pretrained": spec.portable_model == spec.model_source and spec.model_source.endswith(".pt"),
        "patience": FULL_RUN_DEFAULTS["patience"],
        **full_run_params(winner, deterministic),
        "batch": winner.trial.facts.batch or winner.trial.params["batch"],
    }


def length_of_full_run(study: ReadableStudy, winner: Winner) -> int:
    """Return the number of epochs of the winner's final run: of the one that was started, or that of the space."""
    run = study.final_run
    return run.epochs if run is not None and run.trial == winner.trial.number else study.spec.promote_epochs


def mode_of_full_run(study: ReadableStudy, winner: Winner) -> bool | None:
    """Return `deterministic` in the winner's final run: of the one that was started, or that of the space.

    None stands for the value of the trials.
    """
    run = study.final_run
    if run is not None and run.trial == winner.trial.number:
        return run.deterministic
    return study.spec.promote_deterministic


def params_yaml(study: ReadableStudy, winner: Winner, epochs: int, spec: StudySpec | None = None) -> str:
    """Return the text of the file: comments on the origin of the values, then the arguments.

    Args:
        study: Study of the winner.
        winner: Winner of the search.
        epochs: Length of the final run.
        spec: Spec to use if the study's record is outdated; None for the study's own.
    """
    spec, trial = spec or study.spec, winner.trial
    baseline = "did not finish" if winner.baseline is None else f"{winner.baseline.value:.4f}"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(spec.versions.items()))
    header = [
        f"Found by tune: study {study.name}, trial {trial.number}, space {spec.space_name}",
        f"{spec.metric} {trial.value:.4f} after {spec.epochs} epochs (seed {spec.seed}); "
        f"the default configuration: {baseline}",
        *([f"The configuration comes from the starting point {trial.facts.origin}"] if trial.facts.origin else []),
        winner.said(),
        f"Trained with {versions}",
        f"Data set sha256 {spec.data_sha256}",
        *_note_on_model(spec.model, spec.portable_model),
    ]
    buffer = io.StringIO()
    yaml = YAML()
    yaml.version = (1, 1)  # ultralytics reads it with PyYAML, where 1e-05 would be text and `on` would be true
    yaml.default_flow_style = False
    yaml.dump(training_arguments(spec, winner, epochs, mode_of_full_run(study, winner)), buffer)
    return "".join(f"# {printable(line)}\n" for line in header) + buffer.getvalue()


def write_params(text: str, target: Path) -> None:
    """Write the file atomically.

    Raises:
        MachineError: The target cannot be written.
    """
    try:
        write_whole(target, text.encode())
    except OSError as error:
        raise MachineError(
            f"The output file must be writable, but '{target}' is not ({error.strerror}); choose another with -o."
        ) from error


def _note_on_model(model: str, portable_model: str) -> list[str]:
    if not portable_model.endswith("-untrained.pt"):
        return []
    return [f"model: {model} with random weights, as a file that a plain `yolo` command can read"]
