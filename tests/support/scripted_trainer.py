"""A trainer that speaks the contract and trains nothing: it plays a script.

`python scripted_trainer.py [--epoch-seconds S] [--journal FILE] [--fail MESSAGE] [--faults FOLDER]
[--batches N] [--prepare-seconds S] [--prepare-fails MESSAGE] [--room PIXELS] [--value METRIC] [--advice MODEL]
[--gpus N] [--small-gpus N] [--records] [--busy SHARE] [--gib PIXELS] [--together N]`

With batches, it reports its progress in each epoch; without, it reports no progress.

The metric of an epoch is a function of the parameters, so searches have known answers; lr0 above 1 diverges
in the first epoch. A batch of more than `--room` pixels runs out of memory; a share of a GPU has the same
share of this room. A batch of `--gib` pixels takes one GiB; without the option, all take a tenth. An epoch keeps
the GPU busy for `--busy` of its time: if its trials need more time than the GPU has, all take longer. Epochs
already played are kept in the request's directory, as a checkpoint of a real trainer. Each start, epoch and end is
appended to the journal with the trial, the slot and the time.

Before its first trial, a trainer waits until `--together` trainers have one, and then for part of an epoch, so that
they do not all end their epochs at the same time.

A fault is a file in the folder of faults named `TRIAL-EPOCH-ACTION` (`3-2-kill`; `any` stands for every trial, `full`
for the full run), which happens in that epoch of that trial before it is played: once, unless the action ends with `!`.
Actions are the functions `fault_*` below.

A check of a data set finds nothing, and advises the model of `--advice`. It reports `--gpus` GPUs of 80 GiB and
`--small-gpus` of 24, none by default. A check of a device is fine, unless there is a fault `check-NAME-kill`, `-hang`
or `-wrong`. Previews are unsupported, as they may be.
"""

import argparse
import errno
import hashlib
import json
import math
import os
import platform
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn, cast

from trainer.artifacts import scratch
from trainer.artifacts.mirror import Mirror
from trainer.exceptions import Stopped
from trainer.system.processes import die_with_parent
from tuner.contract import (
    TRAIN_STEP,
    WEIGHTS,
    DataCheckRequest,
    DeviceCheckRecord,
    DeviceCheckRequest,
    EndRecord,
    EnvironmentRecord,
    EnvironmentRequest,
    EpochRecord,
    Gpu,
    Latency,
    MeasuredRecord,
    MeasureRequest,
    Outcome,
    Params,
    PreparedRecord,
    PrepareRequest,
    ProgressRecord,
    Record,
    Request,
    StartedRecord,
    Table,
    TrainRequest,
    UnknownTypeError,
    decode,
    encode,
)
from tuner.contract.data_report import Advice, DataReport, SizeFacts, SplitFacts, encode_report
from tuner.contract.run_folder import DATA_REPORT, RECORDS

PLACES = ["", ""]
"""Folder of the run on this machine, and as the tuner knows it."""

Value = float | str | None
"""Metric of an epoch; a fault can make it a text, or remove it."""


class Options(argparse.Namespace):
    """Options of the command line."""

    epoch_seconds: float
    batches: int
    journal: Path | None
    fail: str
    prepare_seconds: float
    prepare_fails: str
    faults: Path | None
    room: float
    value: float | None
    advice: str
    gpus: int
    small_gpus: int
    gib: float
    records: bool
    busy: float
    together: int


class Stop(Exception):  # noqa: N818
    pass


class End(Exception):  # noqa: N818
    def __init__(self, record: EndRecord) -> None:
        self.record = record


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epoch-seconds", type=float, default=0.05)
    parser.add_argument("--batches", type=int, default=0)
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--fail", default="")
    parser.add_argument("--prepare-seconds", type=float, default=0.0)
    parser.add_argument("--prepare-fails", default="")
    parser.add_argument("--faults", type=Path)
    parser.add_argument("--room", type=float, default=math.inf)
    parser.add_argument("--value", type=float, help="of every epoch, whatever the parameters")
    parser.add_argument("--advice", default="mamba-yolo-t")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--small-gpus", type=int, default=0)
    parser.add_argument("--gib", type=float, default=math.inf)
    parser.add_argument("--records", action="store_true", help="keep the records of epochs, as our trainer does")
    parser.add_argument("--busy", type=float, default=0.0, help="needs --journal")
    parser.add_argument("--together", type=int, default=0, help="needs --journal")
    options = parser.parse_args(namespace=Options())
    die_with_parent()  # even while it is stopped, as a training process of the real trainer does
    for line in iter(sys.stdin.readline, ""):
        try:
            send(answer(decode(line), options))
        except UnknownTypeError as error:
            send(EndRecord(outcome=Outcome.UNSUPPORTED, message=str(error)))


def answer(request: Request | Record, options: Options) -> EndRecord:
    match request:
        case PrepareRequest():
            send(StartedRecord(pid=os.getpid(), device="scripted"))
            time.sleep(options.prepare_seconds)
            if options.prepare_fails:
                return EndRecord(outcome=Outcome.ERROR, message=options.prepare_fails)
            return prepare(request)
        case TrainRequest():
            return train(request, options)
        case DataCheckRequest():
            return check(request, options)
        case EnvironmentRequest():
            gpu, small = Gpu(name="scripted", memory_gib=80.0), Gpu(name="small", memory_gib=24.0)
            gpus = (gpu,) * options.gpus + (small,) * options.small_gpus
            send(EnvironmentRecord(versions={"scripted": "1"}, gpus=gpus))
            return EndRecord(outcome=Outcome.COMPLETED)
        case MeasureRequest():
            return measure(request)
        case DeviceCheckRequest():
            return check_device(request, options)
        case _:
            return EndRecord(outcome=Outcome.UNSUPPORTED, message=f"no script for {request.type}")


def send(record: Record) -> None:
    sys.stdout.write(encode(scratch.as_known(record, *PLACES)) + "\n")
    sys.stdout.flush()


def prepare(request: PrepareRequest) -> EndRecord:
    data, model = Path(request.data), Path(request.model)
    if data.is_absolute() and not data.exists():
        return EndRecord(outcome=Outcome.BAD_DATA, message=f"There is no data set '{data}'.")
    if model.suffix == ".pt" and not model.exists():
        return EndRecord(outcome=Outcome.BAD_MODEL, message=f"There is no model '{model}'.")
    send(
        PreparedRecord(
            data=request.data,
            data_sha256=sha256(data) if data.is_file() else "0" * 64,
            num_classes=6,
            num_images={"train": 80, "val": 20},
            model=request.model,
            portable_model=request.model,
            num_parameters=1000,
            checkpoint_bytes=1000,
            versions={"scripted": "1"},
            model_sha256=sha256(model) if model.is_file() else request.model,
            sources=tuple(str(path) for path in (data, model) if path.is_absolute()),
        )
    )
    return EndRecord(outcome=Outcome.COMPLETED)


def check(request: DataCheckRequest, options: Options) -> EndRecord:
    """Report that nothing is wrong with the data set."""
    split = SplitFacts(images=2, usable=2, background=0, unlabelled=0, boxes=2)
    sizes = {"small": 0.5, "medium": 0.25, "large": 0.25, "median_side": 40.0, "tiny": 0.0, "boxes_per_image": 1.0}
    report = DataReport(
        data=request.data,
        root=str(Path(request.data).parent),
        splits={"train": split, "val": split},
        classes=(),
        sizes=SizeFacts(imgsz=640, image_sizes=((640, 480, 4),), **sizes),
        noise=None,
        findings=(),
        notes=(),
        left_out=(),
        advice=(Advice(about="model", choice=options.advice, why="as it is scripted"),),
        refusal="",
    )
    send(StartedRecord(pid=os.getpid(), device="scripted"))
    send(ProgressRecord(step="images", done=4, total=4))
    (Path(request.directory) / DATA_REPORT).write_text(encode_report(report))
    return EndRecord(outcome=Outcome.COMPLETED)


def measure(request: MeasureRequest) -> EndRecord:
    """Report an invented latency."""
    send(StartedRecord(pid=os.getpid(), device="scripted"))
    size = Path(request.weights).stat().st_size
    latency = Latency(
        runtime="script 1",
        device="scripted",
        p50_ms=5.0,
        p95_ms=6.5,
        runs=50,
        warm_up_runs=5,
        file_bytes=size,
    )
    measured = MeasuredRecord(
        imgsz=request.imgsz, threads=request.threads, num_parameters=1000, gflops=0.5, latencies=(latency,)
    )
    send(measured)
    return EndRecord(outcome=Outcome.COMPLETED)


def check_device(request: DeviceCheckRequest, options: Options) -> EndRecord:
    """Report an invented value, or carry out the fault that a file in the folder of faults names."""
    send(StartedRecord(pid=os.getpid(), device="scripted"))
    found = () if options.faults is None else options.faults.glob(f"check-{request.check}-*")
    for action in [path.name.rpartition("-")[2] for path in found]:
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "hang":
            time.sleep(3600)
        if action == "wrong":
            send(DeviceCheckRecord(tables=(), problems=(f"{request.device} computes nonsense",)))
            return EndRecord(outcome=Outcome.COMPLETED)
    row: Params = {"device": request.device, "small": request.small, "step_ms": 12.345, "output_error": 1.5e-7}
    send(DeviceCheckRecord(tables=(Table(title="Scripted", rows=(row,)),), notes=("nobody measured it",)))
    return EndRecord(outcome=Outcome.COMPLETED)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def metric(params: Params, epoch: int, epochs: int) -> float:
    """Return a metric that rises with the epochs towards a height that depends on lr0: best at 0.01."""
    height = 0.6 - 0.1 * abs(math.log10(float(params.get("lr0", 0.01))) + 2)
    return max(0.0, height) * (1 - math.exp(-3 * epoch / epochs))


def train(request: TrainRequest, options: Options) -> EndRecord:
    """Play a run in its folder, or in one of this machine whose files are kept in the store."""
    PLACES[:] = request.directory, request.directory
    if request.shares_files:
        return train_in_folder(request, options, None)
    here = scratch.on_this_machine(request)
    PLACES[:] = here.directory, request.directory
    with scratch.held(Path(here.directory)):
        mirror = Mirror(here)
        try:
            mirror.pull()
            end = train_in_folder(here, options, mirror)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it has ended, and only pushes its files
            played = Path(here.directory) / WEIGHTS / "played.json"
            problem = mirror.flush(end, json.loads(played.read_text()) if played.exists() else 0)
        except Stopped:
            shutil.rmtree(here.directory)
            return EndRecord(outcome=Outcome.STOPPED)
        finally:
            mirror.close()
        if not problem:
            shutil.rmtree(here.directory)
    return replace(end, message=end.message or problem)


def train_in_folder(request: TrainRequest, options: Options, mirror: Mirror | None) -> EndRecord:
    def on_term(signum: int, frame: FrameType | None) -> NoReturn:
        raise Stop

    signal.signal(signal.SIGTERM, on_term)
    directory = Path(request.directory)
    (directory / WEIGHTS).mkdir(parents=True, exist_ok=True)
    note(options, "start", request)
    presence = presence_on_gpu(options) if options.busy else None
    if presence is not None:
        presence.touch()
    try:
        send(StartedRecord(pid=os.getpid(), device="scripted"))
        await_others(options)
        return play(request, options, directory / WEIGHTS / "played.json", mirror)
    except (Stop, Stopped):
        return EndRecord(outcome=Outcome.STOPPED)
    except End as end:
        return end.record
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return EndRecord(outcome=Outcome.ERROR, message=f"no space left on {directory}", retryable=True)
    finally:
        if presence is not None:
            presence.unlink(missing_ok=True)
        note(options, "end", request)


def play(request: TrainRequest, options: Options, checkpoint: Path, mirror: Mirror | None) -> EndRecord:
    if options.fail:
        return EndRecord(outcome=Outcome.ERROR, message=options.fail)
    pixels = int(request.params.get("batch", 16)) * int(request.params.get("imgsz", 640)) ** 2
    if pixels > options.room * request.gpu_share:
        fault_memory("", 0.0)
    played = json.loads(checkpoint.read_text()) if checkpoint.exists() else 0
    value: Value = 0.0
    for epoch in range(1, request.stop_epoch + 1):
        value = metric(request.params, epoch, request.epochs) if options.value is None else options.value
        if epoch > played:
            for name, argument in faults(request, epoch, options):
                value = (
                    globals()[f"fault_{name}"](argument, value, request)
                    if name == "vanish"
                    else globals()[f"fault_{name}"](argument, value)
                )
            took_s = batches(options)
            if float(request.params.get("lr0", 0.01)) > 1:
                return EndRecord(outcome=Outcome.DIVERGED, message="the loss became NaN in epoch 1, batch 1")
            temporary = checkpoint.with_suffix(".tmp")
            temporary.write_text(json.dumps(epoch))
            temporary.replace(checkpoint)
            note(options, "epoch", request, epoch=epoch)
        else:
            took_s = options.epoch_seconds
        validated = epoch in request.validation_epochs or epoch == request.stop_epoch
        record = EpochRecord(
            epoch=epoch,
            losses={"box": 1.0 / epoch, "cls": 1.0, "dfl": 1.0},
            metrics=values(value) if validated else None,
            seconds=took_s,
            memory_gib=max(0.1, pixels / options.gib),
            learning_rate=0.01,
            batch=int(request.params.get("batch", 16)),
            checkpoint=str(checkpoint),
        )
        if options.records and epoch > played:
            with (Path(request.directory) / RECORDS).open("a") as file:
                file.write(encode(record) + "\n")
        send(record)
        if mirror is not None and epoch > played:
            mirror.push(epoch)
    return EndRecord(
        outcome=Outcome.COMPLETED,
        checkpoint=str(checkpoint) if request.full else "",
        metrics=values(value) if request.full else None,
    )


def batches(options: Options) -> float:
    """Take the time of an epoch, report each batch of it, and return the time."""
    took_s = options.epoch_seconds
    if options.busy:
        took_s *= max(1.0, options.busy * len(list(presence_on_gpu(options).parent.iterdir())))
    for batch in range(1, options.batches + 1):
        time.sleep(took_s / options.batches)
        send(ProgressRecord(step=TRAIN_STEP, done=batch, total=options.batches))
    if not options.batches:
        time.sleep(took_s)
    return took_s


def await_others(options: Options) -> None:
    """Wait, before the first trial of this process, until all trainers that are to start together have a trial."""
    if options.together:
        assert options.journal is not None
        folder = options.journal.parent / "began"
        folder.mkdir(exist_ok=True)
        (folder / str(os.getpid())).touch()
        while len(list(folder.iterdir())) < options.together:
            time.sleep(1.0)
        options.together = 0
        time.sleep(options.epoch_seconds * random.random())


def presence_on_gpu(options: Options) -> Path:
    """Return the file that exists while this process trains on its GPU."""
    assert options.journal is not None
    folder = options.journal.parent / f"training-on-{os.environ.get('CUDA_VISIBLE_DEVICES', '')}"
    folder.mkdir(exist_ok=True)
    return folder / str(os.getpid())


def values(value: Value) -> dict[str, float]:
    """Return the metrics of an epoch; a fault can make them invalid, or remove them."""
    if value is None:
        return {}
    number = cast(float, value)  # a text is the fault that the reader must detect
    return {"mAP50-95": number, "mAP50": number, "precision": number, "recall": number}


def faults(request: TrainRequest, epoch: int, options: Options) -> Iterator[tuple[str, str]]:
    """Yield the name and argument of each fault that is due now."""
    if options.faults is None:
        return
    of_this_run = ("full",) if request.full else ("any", str(request.trial))
    for path in sorted(options.faults.iterdir()):
        trial, at, action = path.name.split("-", 2)
        if trial in of_this_run and int(at) == epoch:
            if not action.endswith("!"):
                path.unlink()
            name, _, argument = action.rstrip("!").partition("=")
            note(options, "fault", request, epoch=epoch, action=name)
            yield name, argument


def fault_kill(argument: str, value: Value) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fault_exit(argument: str, value: Value) -> NoReturn:
    os._exit(int(argument))


def fault_preempt(argument: str, value: Value) -> None:
    """Ask the trial to end, as a scheduler that needs the machine does."""
    os.kill(os.getpid(), signal.SIGTERM)


def fault_hang(argument: str, value: Value) -> None:
    time.sleep(3600)


def fault_stop(argument: str, value: Value) -> Value:
    """Freeze the whole process."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return value


def fault_deaf(argument: str, value: Value) -> None:
    """Hang, and ignore requests to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3600)


def fault_slow(argument: str, value: Value) -> Value:
    time.sleep(float(argument))
    return value


def fault_memory(argument: str, value: Value) -> NoReturn:
    raise End(EndRecord(outcome=Outcome.OUT_OF_MEMORY, message="CUDA out of memory. Tried to allocate 20 MiB"))


def fault_data(argument: str, value: Value) -> NoReturn:
    raise End(EndRecord(outcome=Outcome.BAD_DATA, message="labels/7.txt:1 names class 9 of 6"))


def fault_error(argument: str, value: Value) -> NoReturn:
    raise End(EndRecord(outcome=Outcome.ERROR, message=f"RuntimeError: at batch {time.time_ns()}"))


def fault_lost(argument: str, value: Value) -> Value:
    """Fail if one of these GPUs is lost."""
    if not set(os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")).isdisjoint(argument.split(",")):
        raise End(EndRecord(outcome=Outcome.ERROR, message="CUDA error: GPU is lost", retryable=True))
    return value


def fault_vanish(argument: str, value: Value, request: TrainRequest) -> NoReturn:
    """Move the data set away, as a user does, and fail because training does not find its files."""
    folder = Path(request.data).parent
    folder.rename(folder.with_name(f"{folder.name}-away"))
    raise End(EndRecord(outcome=Outcome.BAD_DATA, message=f"no such file: {request.data}"))


def fault_disk(argument: str, value: Value) -> NoReturn:
    raise End(EndRecord(outcome=Outcome.ERROR, message="no space left on /data", retryable=True))


def fault_garbage(argument: str, value: Value) -> Value:
    sys.stdout.write("Epoch 1/5 ...\n")
    sys.stdout.flush()
    return value


def fault_value(argument: str, value: Value) -> Value:
    """Return a wrong value: nan, inf, a text, or none at all."""
    return {"nan": math.nan, "inf": math.inf, "missing": None}.get(argument, argument)


def note(options: Options, event: str, request: TrainRequest, **more: int | str) -> None:
    if options.journal:
        entry = {
            "event": event,
            "trial": request.trial,
            "seed": request.seed,
            "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "host": platform.node(),
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "full": request.full,
            "params": dict(request.params),
            "time": time.monotonic(),
            **more,
        }
        with options.journal.open("a") as file:
            file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main()
