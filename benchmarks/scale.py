"""Time and memory of tune's commands on studies of thousands of trials, and on hundreds of studies.

    python -m benchmarks.scale [--trials 1000 3000 10000] [--storage postgresql://user@host/name]
    python -m benchmarks.scale --studies 20 60 200 [--storage postgresql://user@host/name]
    python -m benchmarks.scale --resumed

A study of made-up trials is searched, without training; larger ones consist of copies of its rows, and further studies
are copies of the whole. Each command runs in a process of its own. `resume` opens a study and the search in it, as
`tune run` does before the first trial, and proposes the next configuration. With `--resumed`, `tune run` searches for
ten more trials on real Ray, with trainers that play a script. Growth is the CPU time at the largest size divided by
that at the smallest.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages._rdb import models
from sqlalchemy import func, insert, literal, select

from benchmarks.report import say, table
from tests.support.synthetic_study import SPACE, synthetic_study
from tuner.storage.database import plain_engine
from tuner.storage.urls import sqlite_url
from tuner.study import StudyPaths

_ORIGINAL = 250
"""Trials of the study that is searched."""
_TRIALS = 50
"""Trials of each of many studies."""
_MORE = 10
"""Trials that a resumed search adds."""
_TRAINER = Path(__file__).parents[1] / "tests" / "support" / "scripted_trainer.py"
_OF_STUDY: tuple[Any, ...] = (
    models.StudyDirectionModel,
    models.StudyUserAttributeModel,
    models.StudySystemAttributeModel,
)
_PARTS = (
    models.TrialValueModel,
    models.TrialIntermediateValueModel,
    models.TrialParamModel,
    models.TrialUserAttributeModel,
    models.TrialSystemAttributeModel,
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Time and memory of a command."""

    cpu_s: float
    wall_s: float
    memory_mib: float

    def __str__(self) -> str:
        return f"{self.cpu_s:.1f} / {self.wall_s:.1f} s, {self.memory_mib:.0f} MiB"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 3000, 10_000], help="sizes of the studies")
    parser.add_argument("--storage", metavar="URL", help="an empty database; without it, an SQLite file of each study")
    parser.add_argument("--studies", type=int, nargs="+", help=f"instead: numbers of studies of {_TRIALS} trials each")
    parser.add_argument("--resumed", action="store_true", help=f"instead: {_MORE} more trials of a search on Ray")
    given = parser.parse_args()
    if given.resumed and (given.storage or given.studies):
        parser.error("--resumed searches in SQLite files of their own, without --storage and --studies")
    sizes, unit = sorted(given.studies or given.trials), "studies" if given.studies else "trials"
    with tempfile.TemporaryDirectory() as home:
        if given.resumed:
            rows = list(measured_searches(Path(home), sizes))
        else:
            measure = measured_lists if given.studies else measured
            rows = list(measure(Path(home), sizes, given.storage))
    say("CPU time / wall time, peak memory:")
    say(table(["command", *(f"{number:,} {unit}" for number in sizes), "growth"], rows))


def measured_lists(home: Path, sizes: Sequence[int], storage: str | None = None) -> Iterator[list[str]]:
    """Yield a row for each command on all studies of a home, as `measured` does.

    Args:
        home: Empty folder for the studies.
        sizes: Numbers of studies, increasing.
        storage: URL of an empty database; None for an SQLite file in the folder of each study.
    """
    costs: dict[str, list[Cost]] = defaultdict(list)
    original = synthetic_study(home, trials=_TRIALS, slots=8, name="study-0", storage=storage)
    for already, number in zip([1, *sizes], sizes, strict=False):
        for copy in range(already, number):
            _copy_study(original, f"study-{copy}", storage)
        for name, command in _list_commands(home, storage).items():
            costs[name].append(cost(command))
    for name, each in costs.items():
        yield [name, *map(str, each), f"{each[-1].cpu_s / each[0].cpu_s:.1f}"]


def _list_commands(home: Path, storage: str | None) -> Mapping[str, Sequence[str]]:
    """Return the commands to measure on all studies of a home, as lines for Python."""
    there = ["--storage", storage] if storage else []
    commands = {
        "tune status": ["-m", "tuner", "status", "--home", str(home), *there],
        "first page of the dashboard": ["-m", "benchmarks.scale_dashboard", str(home), storage or "", ""],
    }
    if storage is None:
        return commands
    backup = ["--force", "-o", str(home / "backup.db")]
    return {
        **commands,
        "tune db check": ["-m", "tuner", "db", "check", *there],
        "tune db backup": ["-m", "tuner", "db", "backup", *there, *backup],
    }


def measured(home: Path, sizes: Sequence[int], storage: str | None = None) -> Iterator[list[str]]:
    """Yield a row for each command: what it took with each size of study, and the growth of the CPU time.

    Args:
        home: Empty folder for the studies.
        sizes: Numbers of trials, increasing.
        storage: URL of an empty database; None for an SQLite file in the folder of each study.
    """
    each = [_commands(paths, storage) for paths in large_studies(home, sizes, storage)]
    for name in each[0]:
        costs = [cost(commands[name]) for commands in each]
        yield [name, *map(str, costs), f"{costs[-1].cpu_s / costs[0].cpu_s:.1f}"]


def _commands(paths: StudyPaths, storage: str | None) -> Mapping[str, Sequence[str]]:
    """Return the commands to measure on a study, as lines for Python."""
    home, study, url = paths.root.parent, paths.root.name, storage or sqlite_url(paths.database)
    there = ["--home", str(home), "--storage", url]
    tune = ["-m", "tuner"]
    return {
        "tune status": [*tune, "status", study, *there],
        "tune status --json": [*tune, "status", study, "--json", *there],
        "tune report": [*tune, "report", study, "-o", str(home / "report.html"), *there],
        "tune export --curves": [*tune, "export", study, "--curves", str(home / "curves.parquet"), *there],
        "tune db check": [*tune, "db", "check", "--storage", url],
        "tune db backup": [*tune, "db", "backup", "--storage", url, "--force", "-o", str(home / "backup.db")],
        "first page of the dashboard": ["-m", "benchmarks.scale_dashboard", str(home), storage or "", study],
        "resume": ["-m", "benchmarks.scale_resume", str(home), study, url],
    }


def measured_searches(home: Path, sizes: Sequence[int]) -> Iterator[list[str]]:
    """Yield a row for `tune run` that adds a few trials to searches of these sizes, as `measured` does.

    Args:
        home: Empty folder for the studies, in SQLite files.
        sizes: Numbers of trials, increasing.
    """
    (home / "space.yaml").write_text(SPACE, encoding="utf-8")
    original = StudyPaths.of(home, "original")
    cost(_search(home, "original", _ORIGINAL))
    costs = []
    for trials in sizes:
        name = f"trials-{trials}"
        _copy_study(original, name, None)
        with plain_engine(sqlite_url(StudyPaths.of(home, name).database)) as engine, engine.begin() as connection:
            _multiply(connection, name, trials)
        costs.append(cost(_search(home, name, trials + _MORE)))
    yield [f"{_MORE} more trials", *map(str, costs), f"{costs[-1].cpu_s / costs[0].cpu_s:.1f}"]


def _search(home: Path, study: str, trials: int) -> Sequence[str]:
    """Return a search on real Ray until a study has this many trials, as a line for Python."""
    options = (
        f"--data sample --trials {trials} --parallel 4 --gpus 0 --reevaluation-runs 0 --no-promote --plain".split()
    )
    where = ["--space", str(home / "space.yaml"), "--home", str(home), "--study", study]
    return ["-m", "tuner", "run", *where, *options, "--trainer", f"{sys.executable} {_TRAINER} --epoch-seconds 0"]


def cost(arguments: Sequence[str]) -> Cost:
    """Run Python with these arguments in a process of its own, and measure it.

    Raises:
        RuntimeError: It failed.
    """
    # Linux counts the memory of the process that starts another one as that of the other, so a small one does.
    line = [sys.executable, "-c", _MEASURE, sys.executable, *arguments]
    told = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout
    code, cpu_s, wall_s, kib = json.loads(told.splitlines()[-1])
    if code:
        raise RuntimeError(f"exit code {code}: {' '.join(arguments)}")
    return Cost(cpu_s, wall_s, kib / 1024)


_MEASURE = """
import json, os, subprocess, sys, time
began_s = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([process.returncode, usage.ru_utime + usage.ru_stime, time.monotonic() - began_s, usage.ru_maxrss]))
"""


def large_studies(home: Path, sizes: Sequence[int], storage: str | None = None) -> list[StudyPaths]:
    """Write studies with these numbers of trials; all but the first few are copies.

    No study can be searched in a database of a server afterwards, which does not know that ids are taken.

    Args:
        home: Folder for the folders of the studies.
        sizes: Numbers of trials.
        storage: URL of a database for the records; None for an SQLite file in the folder of each study.
    """
    studies = [
        synthetic_study(home, trials=min(trials, _ORIGINAL), slots=8, name=f"trials-{trials}", storage=storage)
        for trials in sizes
    ]
    for paths, trials in zip(studies, sizes, strict=True):
        with plain_engine(storage or sqlite_url(paths.database)) as engine, engine.begin() as connection:
            _multiply(connection, paths.root.name, trials)
    return studies


def _multiply(connection: sqlalchemy.Connection, study: str, trials: int) -> None:
    """Copy the rows of all trials of a study until it has this many trials."""
    trial = models.TrialModel.__table__
    studies = models.StudyModel.__table__
    of_study = trial.c.study_id == (
        connection.execute(select(studies.c.study_id).where(studies.c.study_name == study)).scalar_one()
    )
    there = connection.execute(select(func.count()).where(of_study)).scalar_one()
    highest = connection.execute(select(func.max(trial.c.trial_id))).scalar_one()
    originals = connection.execute(select(trial.c.trial_id).where(of_study)).scalars().all()
    for copy in range(1, -(-trials // there)):
        shift = copy * highest
        is_copied = of_study & trial.c.trial_id.in_(originals) & (trial.c.number < trials - copy * there)
        _copy_trials(connection, is_copied, shift, number=copy * there)


def _copy_study(original: StudyPaths, name: str, storage: str | None) -> None:
    """Copy a study under another name, with its files."""
    folder = original.root.with_name(name)
    shutil.copytree(original.root, folder)
    url = storage or sqlite_url(StudyPaths(folder).database)
    studies, trial = models.StudyModel.__table__, models.TrialModel.__table__
    with plain_engine(url) as engine, engine.begin() as connection:
        if storage is None:
            connection.execute(studies.update().values(study_name=name))
            return
        first = select(studies.c.study_id).where(studies.c.study_name == original.root.name)
        study = connection.execute(first).scalar_one()
        there = connection.execute(select(func.max(studies.c.study_id))).scalar_one() - study + 1
        highest = connection.execute(select(func.max(trial.c.trial_id)).where(trial.c.study_id == study)).scalar_one()
        connection.execute(studies.insert().values(study_id=study + there, study_name=name))
        for model in _OF_STUDY:
            rows = select(model.__table__).where(model.__table__.c.study_id == study)
            _insert(connection, model.__table__, rows, study_id=there)
        _copy_trials(connection, trial.c.study_id == study, there * highest, study_id=there)


def _copy_trials(connection: sqlalchemy.Connection, is_copied: Any, shift: int, **shifts: int) -> None:
    """Copy trials with all their parts, with ids and some whole numbers shifted."""
    trial = models.TrialModel.__table__
    _insert(connection, trial, select(trial).where(is_copied), trial_id=shift, **shifts)
    for model in _PARTS:
        part: Any = model.__table__
        rows = select(part).join(trial, trial.c.trial_id == part.c.trial_id).where(is_copied)
        _insert(connection, part, rows, trial_id=shift)


def _insert(connection: sqlalchemy.Connection, into: Any, rows: Any, **shifts: int) -> None:
    """Insert rows of a table into it again, with new primary keys and some whole numbers shifted."""
    found = rows.subquery()
    keys = {column.name for column in into.primary_key.columns} - shifts.keys()
    names = [column.name for column in into.columns if column.name not in keys]
    columns = [found.c[name] + literal(shifts[name]) if name in shifts else found.c[name] for name in names]
    connection.execute(insert(into).from_select(names, select(*columns)))


if __name__ == "__main__":
    main()
