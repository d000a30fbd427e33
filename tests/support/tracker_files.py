"""Read the logs of TensorBoard, MLflow and W&B (offline), all in the same form."""

import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]


@dataclass(kw_only=True)
class Logged:
    """One run as a tracker has it."""

    points: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    """Epochs and values of each curve, in the order in which they were logged."""
    params: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    state: str = ""
    parts: int = 1
    """Number of runs or files that it consists of."""


def of_tensorboard(folder: Path) -> dict[str, Logged]:
    """Read the event files of a study; values have the precision of TensorBoard, 32 bits."""
    return {run.name: _events(run) for run in sorted(folder.iterdir())}


def _events(folder: Path) -> Logged:
    # Keep everything, including values that were logged twice.
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}, purge_orphaned_data=False)
    events.Reload()
    logged = Logged(parts=len(list(folder.iterdir())))
    for tag in events.Tags()["scalars"]:
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        if tag.startswith("summary/"):
            logged.summary[tag.removeprefix("summary/")] = found[-1][1]
        else:
            logged.points[tag] = found
    for tag in events.Tags()["tensors"]:
        texts = [event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)]
        logged.summary[tag.removesuffix("/text_summary")] = texts[-1]
    logged.state = logged.summary.get("state", "").partition(":")[0]
    if "_hparams_/session_start_info" in events.summary_metadata:
        content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        logged.params = _hparams(content)
    return logged


def _hparams(content: bytes) -> dict[str, Any]:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    values = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def of_mlflow(uri: str, experiment: str) -> dict[str, Logged]:
    """Read the runs of an experiment, by their keys."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    logged: dict[str, Logged] = {}
    for run in client.search_runs([found.experiment_id]):
        key = run.data.tags["tune.key"]
        assert key not in logged, f"two runs are {key}"
        points = defaultdict(list)
        for name in run.data.metrics:
            points[name] = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        logged[key] = Logged(
            points=points,
            params=dict(run.data.params),
            summary={**run.data.tags, "files": sorted(f.path for f in client.list_artifacts(run.info.run_id))},
            state=f"{run.data.tags.get('tune.state', '')} {run.info.status}",
        )
    return logged


def of_wandb(folder: Path) -> dict[str, Logged]:
    """Read the offline files of a study, by the keys of its runs, as `wandb sync` uploads them: the oldest first."""
    logged: dict[str, Logged] = {}
    for file in sorted(folder.glob("offline-run-*/run-*.wandb")):
        key = file.stem.split("-", 2)[2]  # run-STUDYID-KEY
        run = logged.setdefault(key, Logged(parts=0))
        run.parts += 1
        for record in map(Record.FromString, _records(file.read_bytes())):
            _note(run, record)
    return logged


def _note(run: Logged, record: Record) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run.params |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
    elif kind == "history":
        row = {
            item.nested_key[0] if item.nested_key else item.key: json.loads(item.value_json)
            for item in record.history.item
        }
        for name, value in row.items():
            if name != "epoch" and not name.startswith("_"):
                run.points[name].append((row["epoch"], float(value)))
    elif kind == "summary":
        run.summary |= {
            item.nested_key[0] if item.nested_key else item.key: json.loads(item.value_json)
            for item in record.summary.update
        }
        run.state = run.summary.get("state", "")
    elif kind == "files":
        saved = {item.path for item in record.files.files}
        run.summary["files"] = sorted(saved.union(run.summary.get("files", ())))


def _records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a file in the format of LevelDB's log, which W&B uses with its own header."""
    block_bytes, header_bytes = 32768, 7
    assert content[:4] == b":W&B"
    position = 7
    parts = b""
    while position + header_bytes <= len(content):
        left = block_bytes - position % block_bytes
        if left < header_bytes:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + header_bytes])
        position += header_bytes
        parts += content[position : position + length]
        position += length
        if kind in (1, 4):  # full, or the last part
            yield parts
            parts = b""
