r"""Define the contract between the tuner and a trainer: messages on a pipe, and files in a run's folder.

Any program that follows this page can be tuned: `tune run --trainer COMMAND`, or the variable TUNE_TRAINER. A trainer
in Python can import the package: it needs nothing but the standard library and `tuner.exceptions`. A trainer in another
language reads and writes the same JSON.

**The pipe.** The tuner starts COMMAND (by default `python -m trainer serve`). The trainer reads requests from standard
input and writes records to standard output, one JSON object a line. Text for people goes to standard error. Each object
carries `version` (`CONTRACT_VERSION`), `type`, and the fields of the dataclass of that type. NaN and infinities are the
strings "nan", "inf" and "-inf". Readers ignore fields that they do not know, and refuse other versions: a trainer
answers what it cannot read with `end`, outcome `error`, and one line that says why.

    request          records, in this order                 asked by
    prepare          started?, progress..., prepared, end   tune run, train, promote, export
    train            started, (progress..., epoch)..., end  tune run, train, promote
    check_data       started, progress..., cleaned?, end    tune data check; tune run and train without a model
    preview          started, previewed, end                tune preview
    environment      started, environment_report, end       tune doctor; tune train, unless it gets --gpus 0
    measure          started, measured, end                 tune run, promote: after the final run
    check_device     started, device_checked, end           tune doctor --gpu

Exactly one `end` closes a request, whatever happens. After it the trainer is silent until the next request. `prepared`,
`previewed`, `environment_report`, `measured` and `device_checked` come only with the outcome `completed`. The trainer
ends when its standard input closes, and takes its children with it. It may also end after any `end`: the tuner starts
it again.

**Requests that a trainer must know** are `prepare` and `train`. The other five are optional. A trainer answers a
type that it does not know (`decode` raises `UnknownTypeError`) with `end`, outcome `unsupported`. The command of the
user then fails with one line and exit code 5; `measure` costs a run only its winner's card. It does the same if the
trainer ends without an answer, or does not send `started` within two minutes.

**Training.** `started` carries the pid of the training process, which leads a process group of its own. To stop a
run, the tuner sends SIGTERM to that group, and the trainer ends the request with the outcome `stopped`. SIGKILL
follows after five seconds. Before the tuner kills a run that hangs, it sends SIGUSR1: write the stacks of all threads
to the log. This is optional, since the default action, dying, is as good. Training never waits for the tuner.

`progress` is optional too: the batches trained so far in the running epoch, with the step `TRAIN_STEP`, at most one
record a second. It feeds the live view and shows the tuner that the trainer is alive; no decision depends on it.

A request is idempotent. Sent again after a crash, with the same directory, it resumes from the last checkpoint there,
and repeats the records of the epochs that are already trained before it sends new ones. The tuner ignores repeated
records, so no epoch is lost and none counts twice. Between two attempts, the directory, the data set and the model
may move: a checkpoint belongs to a request with the same content, whatever the paths are.

**Files.** Everything that a run writes goes below `TrainRequest.directory`, checkpoints into the folder `weights`
there. The tuner removes that folder when the run will never continue. `tuner.contract.run_folder` names the other
files, which are optional: `tune diagnose` and `tune export --curves` read them.

If `TrainRequest.shares_files` is false, the trainer may be on a machine that shares no folder with the tuner. It then
keeps the files in a folder of its own, and in the store that the request names (see `tuner.contract.artifacts`). A
trainer that ignores this works as long as the folder exists on its machine, and resumes a run only there.

A trainer in Python, without the work:

    for line in sys.stdin:
        try:
            request = decode(line)
        except UnknownTypeError as error:
            end = EndRecord(outcome=Outcome.UNSUPPORTED, message=str(error))
        else:
            end = answer(request)  # sends the other records
        sys.stdout.write(encode(end) + "\n")
        sys.stdout.flush()
"""

from tuner.contract.codec import (
    CONTRACT_VERSION,
    ContractError,
    Record,
    Request,
    UnknownTypeError,
    decode,
    encode,
)
from tuner.contract.data_report import COMPILE_STEP, TRAIN_STEP, CleanedRecord, DataCheckRequest, ProgressRecord
from tuner.contract.device_check import DeviceCheck, DeviceCheckRecord, DeviceCheckRequest, Table
from tuner.contract.environment import EnvironmentRecord, EnvironmentRequest, Gpu
from tuner.contract.measuring import Latency, MeasuredRecord, MeasureRequest
from tuner.contract.messages import (
    FULL_RUN_DEFAULTS,
    METRICS,
    EndRecord,
    EpochRecord,
    ImageCache,
    Outcome,
    Params,
    ParamValue,
    PreparedRecord,
    PrepareRequest,
    Stage,
    StartedRecord,
    TrainRequest,
)
from tuner.contract.preview import PreviewRecord, PreviewRequest, SheetSettings
from tuner.contract.run_folder import WEIGHTS

__all__ = [
    "COMPILE_STEP",
    "CONTRACT_VERSION",
    "FULL_RUN_DEFAULTS",
    "METRICS",
    "TRAIN_STEP",
    "WEIGHTS",
    "CleanedRecord",
    "ContractError",
    "DataCheckRequest",
    "DeviceCheck",
    "DeviceCheckRecord",
    "DeviceCheckRequest",
    "EndRecord",
    "EnvironmentRecord",
    "EnvironmentRequest",
    "EpochRecord",
    "Gpu",
    "ImageCache",
    "Latency",
    "MeasureRequest",
    "MeasuredRecord",
    "Outcome",
    "ParamValue",
    "Params",
    "PrepareRequest",
    "PreparedRecord",
    "PreviewRecord",
    "PreviewRequest",
    "ProgressRecord",
    "Record",
    "Request",
    "SheetSettings",
    "Stage",
    "StartedRecord",
    "Table",
    "TrainRequest",
    "UnknownTypeError",
    "decode",
    "encode",
]
