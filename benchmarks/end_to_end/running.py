"""Run the command of a tool for as long as it may, and note what it handed over and where the time went."""

import contextlib
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.end_to_end.phases import Phases, Watch, divide
from benchmarks.end_to_end.setup import Task, prepared
from benchmarks.end_to_end.tools import REEVALUATION, TOOLS, HandOver

_LOOK_EVERY_S = 0.25
_MARK = "END_TO_END_RUN"


@dataclass(frozen=True, kw_only=True)
class Search:
    """Search of one tool, as a line of the results."""

    task: Task
    tool: str
    repetition: int
    hand_over: HandOver
    exit_code: int | None
    """None if the command was killed when its time was over."""
    wall_s: float
    phases: Phases
    trials: int
    """Runs of the search that trained at least one epoch."""
    epochs: int
    """Epochs of the search."""
    reevaluation_epochs: int


def search(folder: Path, task: Task, tool: str, repetition: int) -> Search:
    """Run one tool in a fresh folder.

    Raises:
        RuntimeError: No epoch was trained; the message names the log.
    """
    data, environment = prepared(folder, task)
    subject = TOOLS[tool]
    watch = Watch(folder, subject.files, subject.rows)
    log = folder / "output.log"
    command = subject.command(folder, data, task, repetition)
    began_s = time.time()
    exit_code = run_for(task.budget_s, command, folder, environment, watch, log)
    ended_s = min(time.time(), began_s + task.budget_s)
    watch.look()
    if not watch.epochs:  # a tool may fail because nothing was learnt, and hands its default over
        raise RuntimeError(f"'{tool}' has not trained an epoch (exit code {exit_code}); read {log}.")
    epochs = [epoch for epoch in watch.epochs if epoch.ended_s <= ended_s]
    in_search = [epoch for epoch in epochs if not epoch.run.startswith(REEVALUATION)]
    return Search(
        task=task,
        tool=tool,
        repetition=repetition,
        hand_over=subject.hand_over(folder),
        exit_code=exit_code,
        wall_s=ended_s - began_s,
        phases=divide(epochs, began_s, ended_s),
        trials=len({epoch.run for epoch in in_search}),
        epochs=len(in_search),
        reevaluation_epochs=len(epochs) - len(in_search),
    )


def run_for(
    budget_s: float, command: list[str], folder: Path, environment: Mapping[str, str], watch: Watch, log: Path
) -> int | None:
    """Run a command for at most these seconds; return its exit code, or None if it was killed.

    In both cases nothing that it has started survives it.
    """
    mark = uuid.uuid4().hex
    deadline_s = time.monotonic() + budget_s
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, _MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None and (left_s := deadline_s - time.monotonic()) > 0:
                watch.look()
                time.sleep(min(_LOOK_EVERY_S, left_s))
            return process.poll()
        finally:
            _kill_all(mark)
            process.wait()


def _kill_all(mark: str) -> None:
    """Kill every process that inherited the mark: Ray's daemons leave the process group."""
    while marked := [process for process in psutil.process_iter() if _has(process, mark)]:
        for process in marked:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(marked, timeout=5)


def _has(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
