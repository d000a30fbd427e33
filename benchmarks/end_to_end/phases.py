"""Watch the epochs that trainers report in their folders, and divide the wall time of a command into phases."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Epoch that a trainer has trained and, if it was to be, validated."""

    run: str
    """Folder of the run; a number follows if an earlier run had the same folder."""
    number: int
    ended_s: float
    """Time of its end, in seconds since 1970."""
    seconds: float

    @property
    def began_s(self) -> float:
        """Time of its start, in seconds since 1970."""
        return self.ended_s - self.seconds


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Wall time of a command in seconds. The four phases add up to it."""

    start_s: float
    """Until the first epoch begins."""
    training_s: float
    """At least one trainer is busy with an epoch."""
    idle_s: float
    """No trainer is, between the first epoch and the last one."""
    end_s: float
    """After the last epoch."""
    trainer_s: float
    """Sum of the durations of all epochs, which overlap if several trainers work at once."""


Row = tuple[int, float]
"""Number of an epoch, and its duration in seconds."""


def rows_of_csv(text: str) -> list[Row]:
    """Return the epochs of ultralytics' `results.csv`, whose column `time` counts the seconds since the first began."""
    complete = text[: text.rfind("\n") + 1]
    times = [(int(row["epoch"]), float(row["time"])) for row in csv.DictReader(complete.splitlines(), strict=True)]
    return [(epoch, time - before) for (_, before), (epoch, time) in pairwise([(0, 0.0), *times])]


def rows_of_records(text: str) -> list[Row]:
    """Return the epochs of our `records.jsonl`."""
    complete = text[: text.rfind("\n") + 1]
    return [(row["epoch"], row["seconds"]) for row in map(json.loads, complete.splitlines())]


class Watch:
    """Watch of the files in which the trainers of one command report their epochs."""

    def __init__(self, folder: Path, patterns: Sequence[str], rows: Callable[[str], list[Row]]) -> None:
        """Start with nothing seen.

        Args:
            folder: Folder of the command.
            patterns: Globs of the files in it.
            rows: Reads such a file.
        """
        self._folder = folder
        self._patterns = patterns
        self._rows = rows
        self._seen: dict[Path, int] = {}
        self._generations: dict[Path, int] = {}
        self.epochs: list[Epoch] = []

    def look(self) -> None:
        """Add the epochs that have ended since the last look.

        The last epoch of a file ended when the file was written. A file that has disappeared or lost rows was another
        run's: ultralytics' tuner removes folders and uses their names again.
        """
        found = {}
        for path in [path for pattern in self._patterns for path in self._folder.glob(pattern)]:
            try:
                found[path] = (path.stat().st_mtime, self._rows(path.read_text()))
            except FileNotFoundError:
                continue
        for path, seen in list(self._seen.items()):
            if path not in found or len(found[path][1]) < seen:
                del self._seen[path]
                self._generations[path] = self._generations.get(path, 0) + 1
        for path, (written_s, rows) in found.items():
            new = rows[self._seen.get(path, 0) :]
            self._seen[path] = len(rows)
            self.epochs += reversed(list(self._timed(path, new, written_s)))

    def _timed(self, path: Path, rows: Sequence[Row], written_s: float) -> Iterator[Epoch]:
        generation = self._generations.get(path, 0)
        run = str(path.parent.relative_to(self._folder)) + (f"#{generation}" if generation else "")
        for number, seconds in reversed(rows):
            yield Epoch(run=run, number=number, ended_s=written_s, seconds=seconds)
            written_s -= seconds


def divide(epochs: Sequence[Epoch], began_s: float, ended_s: float) -> Phases:
    """Divide the time of a command; without an epoch, all of it is its start."""
    spans = sorted((max(epoch.began_s, began_s), min(epoch.ended_s, ended_s)) for epoch in epochs)
    if not spans:
        return Phases(start_s=ended_s - began_s, training_s=0.0, idle_s=0.0, end_s=0.0, trainer_s=0.0)
    training_s, reached_s = 0.0, spans[0][0]
    for begin_s, end_s in spans:
        training_s += max(end_s - max(begin_s, reached_s), 0.0)
        reached_s = max(reached_s, end_s)
    return Phases(
        start_s=spans[0][0] - began_s,
        training_s=training_s,
        idle_s=reached_s - spans[0][0] - training_s,
        end_s=ended_s - reached_s,
        trainer_s=sum(end_s - begin_s for begin_s, end_s in spans),
    )
