"""Implement `tune train`."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from tuner.cli.arguments import (
    CacheGib,
    HangAfter,
    StartWithin,
    Trainer,
    cache_bytes,
    chosen_model,
    commands_prefix,
    data_name,
    data_source,
    trainer_command,
)
from tuner.contract import FULL_RUN_DEFAULTS, Gpu, ParamValue, Stage
from tuner.exceptions import MachineError, UsageError
from tuner.execution.watchdog import LEAST_S, START_S, HangTimeouts
from tuner.system.paths import checked_path
from tuner.system.printable import printable

if TYPE_CHECKING:
    from tuner.training.arguments_file import Parameters


def train(
    params: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="params.yaml of `tune export`, or any args.yaml. Default: the defaults of medium_aug."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data set YAML or COCO JSON, or sample for the bundled data set. Default: that of the file."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="mamba-yolo-n|t|b|l, a detection YAML, or a .pt to fine-tune. Default: that of the file, or the one "
            "that the data check suggests."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run. Default: runs/model-data.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Number of epochs. Default: that of the file, or 300.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed. Default: that of the file, or 0.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Training argument of ultralytics, for example lr0=0.005; may be repeated.",
        ),
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EPOCH:IMGSZ:BATCH",
            help="Image size and batch up to this epoch; repeat it for a run in stages, for example --stage 150:416:64 "
            "--stage 300:640:32.",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(help="Batch size over all GPUs; auto measures the largest that fits, up to 128 per GPU."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Stop after this many epochs without a better one; 0 disables. "
            f"Default: {FULL_RUN_DEFAULTS['patience']}.",
        ),
    ] = None,
    save_period: Annotated[
        int, typer.Option(min=1, help="Number of epochs between the checkpoints that are kept.")
    ] = FULL_RUN_DEFAULTS["save_period"],
    distill: Annotated[
        Path | None,
        typer.Option(metavar="FILE.pt", help="Distil from a larger model trained on the same classes."),
    ] = None,
    backup: Annotated[
        str,
        typer.Option(
            metavar="FOLDER",
            help="Copy the best and last weights there every --save-period epochs and at the end: a path, or a URL "
            "that fsspec supports (s3://...).",
        ),
    ] = "",
    warm_restart: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Start from the best weights of a run that is stuck, with a fresh optimizer, lr0 0.005 (0.0005 for "
            "Adam), 50 epochs and the run's other arguments, unless you override them.",
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="N|LIST",
            help="Number of GPUs to train on, or their indices, such as 0,2,5; 0 trains on the CPU. Default: as many "
            "as divide the batch evenly, with at least 8 images on each.",
        ),
    ] = None,
    trainer: Trainer = None,
    hang_after: HangAfter = LEAST_S,
    start_within: StartWithin = START_S,
    cache_gib: CacheGib = "auto",
) -> None:
    """Train one configuration in full, on a CPU or on several GPUs.

    Run the same command again to resume an interrupted run.

    Examples:

        tune train --params params.yaml --data my/dataset.yaml --model mamba-yolo-b --gpus 4

        tune train --data my/dataset.yaml --model mamba-yolo-t --stage 150:416:64 --stage 300:640:32

        tune train --warm-restart runs/mamba-yolo-t-dataset
    """
    from tuner.diagnosis import summary_lines
    from tuner.execution.visible_gpus import read_choice
    from tuner.memory.limits import sizes_of
    from tuner.training import single_run
    from tuner.training.arguments_file import overridden, require_optimizer

    options = {"data": data, "model": model, "epochs": epochs, "seed": seed, "patience": patience, "batch": batch}
    replaced = {name for name, value in {**options, "distill_model": distill}.items() if value is not None}
    replaced |= {setting.partition("=")[0].strip() for setting in settings or []}
    given = overridden(_given(params, warm_restart, replaced), settings or [])
    require_optimizer(given)
    said = {name: value for name, value in (("patience", patience), ("batch", _batch(batch))) if value is not None}
    image_cache_bytes = cache_bytes(cache_gib)
    if batch == "auto" and stage:
        raise UsageError(
            "--batch auto measures a single image size, but --stage sets several; set the batch of each stage."
        )
    stages = tuple(_stage(text) for text in stage or ())
    source = data_source(data or given.data)
    command = trainer_command(trainer)
    batches = [stage.batch for stage in stages] or [sizes_of({**given.params, **said})[0]]
    asked = read_choice(gpus, address=None, environment=os.environ)
    devices = _devices(asked, command, () if batch == "auto" else batches)
    chosen = chosen_model(model or given.model, source, command, lambda line: typer.echo(printable(line)))
    folder = out or Path("runs") / _default_name(chosen, source, restarted=warm_restart is not None)
    teacher = _teacher(distill or given.params.get("distill_model"))
    run = single_run.FullRun(
        params={
            "patience": FULL_RUN_DEFAULTS["patience"],
            **given.params,
            **said,
            **teacher,
        },
        model=chosen,
        data=source,
        epochs=epochs or given.epochs or 300,
        seed=given.seed or 0 if seed is None else seed,
        stages=stages,
        save_period=save_period,
        backup=_backup(backup),
        directory=Path(checked_path("--out", str(folder))).absolute(),
        measured_batch=batch == "auto",
        memory_gib=devices.memory_gib,
        smallest_gpu=devices.smallest_gpu,
        gpus=devices.number,
        threads=len(os.sched_getaffinity(0)),
        trainer=command,
        hang_timeouts=HangTimeouts(least_s=hang_after, start_s=start_within),
        image_cache_bytes=image_cache_bytes,
    )
    for line in (*given.notes, *filter(None, [devices.note])):
        typer.echo(printable(f"note   {line}"))
    trained = single_run.train(run, lambda line: typer.echo(printable(line)))
    values = ", ".join(f"{name} {value:.4f}" for name, value in trained.metrics.items())
    typer.echo(f"\nbest   {values}\n       {printable(trained.weights)}")
    for line in summary_lines(run.directory):
        typer.echo(printable(f"       {line}"))
    if trained.note:
        typer.echo(printable(f"note   {trained.note}"))
    where = shlex.quote(str(folder))
    typer.echo(printable(f"Next: {commands_prefix()}tune diagnose {where}"))


def _given(params: Path | None, warm_restart: Path | None, replaced: set[str]) -> "Parameters":
    """Return the configuration of a file, a run or the guide; arguments in `replaced` may be invalid there."""
    from tuner.training.arguments_file import default_parameters, read_parameters, warm_restart_of

    if warm_restart is not None:
        restarted = warm_restart_of(warm_restart, overridden=replaced)
        if params is None:
            return restarted
        return replace(read_parameters(params, overridden={*replaced, "model"}), model=restarted.model)
    return read_parameters(params, overridden=replaced) if params is not None else default_parameters()


def _stage(text: str) -> Stage:
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts) or int(parts[1]) % 32:
        raise UsageError(
            f"--stage must be last epoch, imgsz (a multiple of 32) and batch, such as 150:416:64, but got '{text}'."
        )
    last_epoch, imgsz, batch = map(int, parts)
    return Stage(last_epoch=last_epoch, imgsz=imgsz, batch=batch)


def _teacher(weights: Path | ParamValue | None) -> dict[str, str]:
    if weights is None:
        return {}
    path = Path(checked_path("--distill", str(weights))).absolute()
    if not os.path.isfile(path) or path.suffix != ".pt":  # noqa: PTH113 - Path.is_file raises for a name that is too long
        raise UsageError(
            f"--distill must be an existing .pt file of a trained model, but got '{path}'; check the path."
        )
    return {"distill_model": str(path)}


def _backup(text: str) -> str:
    """Make a path absolute, since the trainer has another working directory; leave a URL unchanged."""
    return text if not text or "://" in text else str(Path(checked_path("--backup", text)).absolute())


def _batch(text: str | None) -> int | None:
    if text is None or text == "auto":
        return None
    if not text.isdecimal() or not int(text):
        raise UsageError(f"--batch must be a number of images, or auto, but got '{text}'.")
    return int(text)


class _Devices(NamedTuple):
    """Devices of a run."""

    number: int
    """Number of GPUs; 0 for the CPU."""
    memory_gib: float
    """Free memory of the GPU that has least, or of the machine, in GiB."""
    smallest_gpu: str
    """Name of this GPU, if the GPUs differ; "" if not."""
    note: str
    """Note for the user; "" if there is none."""


def _devices(asked: int | None, trainer: Sequence[str], batches: Sequence[int]) -> _Devices:
    """Choose the devices.

    Args:
        asked: Number of GPUs in the command; None for as many as suit the batches.
        trainer: Command of the trainer, which knows the GPUs.
        batches: Batch of each stage; empty if the batch will be chosen to suit the GPUs.
    """
    import psutil

    from tuner.workflows.doctor import gpus_of

    there = () if asked == 0 else gpus_of(trainer)
    if asked is not None and asked > len(there):
        raise MachineError(
            f"--gpus must be at most {len(there)}, the number of GPUs, but got {asked}; `tune doctor` lists the GPUs."
        )
    number, note = _number_of_gpus(asked, len(there), batches) if batches else (asked or len(there), "")
    if not number:
        return _Devices(number, psutil.virtual_memory().available / 2**30, "", note)
    used = there[:number]
    smallest = min(used, key=_free_gib)
    are_several_kinds = len({(gpu.name, round(gpu.memory_gib)) for gpu in used}) > 1
    return _Devices(number, _free_gib(smallest), smallest.name if are_several_kinds else "", note)


def _free_gib(gpu: Gpu) -> float:
    """Return the free memory of a GPU in GiB; all of it if the trainer does not say."""
    return gpu.memory_gib if gpu.free_gib is None else gpu.free_gib


def _number_of_gpus(asked: int | None, there: int, batches: Sequence[int]) -> tuple[int, str]:
    """Return the number of GPUs that suits the batches, or the number in the command, with a note or ""."""
    from tuner.training.gpu_count import fewer_gpus_note, gpus_for, small_parts_note

    if asked is None:
        number = gpus_for(batches, there)
        return number, fewer_gpus_note(batches, number, there) if number < there else ""
    uneven = next((batch for batch in batches if asked and batch % asked), None)
    if uneven is not None:
        raise UsageError(
            f"--gpus must divide the batch evenly, but got {asked} for a batch of {uneven}; use "
            f"--gpus {gpus_for(batches, asked)}, or a batch of {-(-uneven // asked) * asked}."
        )
    return asked, small_parts_note(batches, asked)


def _default_name(model: str, data: str, *, restarted: bool) -> str:
    """Return the same name for the same command, so that repeating the command resumes the run."""
    of_model = f"{Path(model).parent.parent.name}-again" if restarted else Path(model).stem
    return f"{of_model}-{data_name(data)}"
