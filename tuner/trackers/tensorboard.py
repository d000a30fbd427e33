"""Log to TensorBoard: one folder of event files for each run, in the study's folder."""

import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams, scalar, text

from tuner.trackers.messages import Kind, LoggedRun, Subject


class TensorBoard:
    """Event files of a study.

    Each process writes the file of a run from the start and then removes earlier ones: the study's record is complete,
    so no point is missing or doubled.
    """

    def __init__(self, subject: Subject) -> None:
        self._folder = Path(subject.tensorboard)
        self._files: dict[str, EventsWriter] = {}
        self._suffix = f".{uuid.uuid4().hex[:8]}"  # two processes may begin in the same second

    def log(self, run: LoggedRun) -> None:
        """Write the new points, and the result of a run that is not training."""
        is_new = run.key not in self._files
        if is_new:
            self._files[run.key] = self._begun(run)
        for step, summary in _summaries(run):
            self._files[run.key].write_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._files[run.key].flush()
        if is_new:
            self._remove_earlier(run.key)

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()

    def _begun(self, run: LoggedRun) -> EventsWriter:
        (self._folder / run.key).mkdir(parents=True, exist_ok=True)
        file = EventsWriter(str(self._folder / run.key / "events"), filename_suffix=self._suffix)
        if run.kind == Kind.STUDY:
            file.write_event(Event(wall_time=time.time(), summary=text("settings", _as_table(run.params))))
        else:
            _, begin, _ = hparams(dict(run.params), {})
            file.write_event(Event(wall_time=time.time(), summary=begin))
        return file

    def _remove_earlier(self, key: str) -> None:
        for file in (self._folder / key).glob("events.out.tfevents.*"):
            if not file.name.endswith(self._suffix):
                file.unlink()


def _summaries(run: LoggedRun) -> Iterator[tuple[int, Summary]]:
    """Yield what is to be written, each with its step."""
    for epoch, values in sorted(run.points.items()):
        for name, value in values.items():
            yield epoch, scalar(name, value)
    if run.state == "RUNNING":
        return
    for name, value in run.summary.items():
        yield run.last_epoch, scalar(f"summary/{name}", value)
    texts = {"state": f"{run.state}: {run.reason}" if run.reason else run.state, **run.texts, **_contents(run)}
    for name, said in texts.items():
        yield run.last_epoch, text(name, said)
    if run.has_ended and run.kind != Kind.STUDY:
        yield run.last_epoch, hparams({}, {})[2]


def _contents(run: LoggedRun) -> dict[str, str]:
    """Return the content of YAML files as Markdown, and the path of each other file: TensorBoard keeps no files."""
    paths = map(Path, run.files)
    return {
        path.name: _as_code(path.read_text(encoding="utf-8")) if path.suffix == ".yaml" else str(path) for path in paths
    }


def _as_table(params: Mapping[str, object]) -> str:
    rows = (f"| {name} | {value} |\n" for name, value in params.items())
    return "".join(("| setting | value |\n", "|---|---|\n", *rows))


def _as_code(content: str) -> str:
    return "".join(f"    {line}\n" for line in content.splitlines())
