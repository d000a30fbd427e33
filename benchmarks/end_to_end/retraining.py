"""Train what the tools handed over, and default configurations, in full on seeds that no search used."""

import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.end_to_end.running import Search
from benchmarks.end_to_end.setup import METRIC, MODEL, Task, prepared
from benchmarks.end_to_end.tools import TOOLS, TuneRun
from tuner.contract import ParamValue
from tuner.space import find_space, load_space

SEEDS = (101, 102, 103)
DEFAULT = "default of `yolo train`"

_AT_ONCE = 2


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """Full run of one configuration with stock ultralytics, as a line of the results."""

    task: Task
    tool: str
    """Tool that handed the configuration over, `DEFAULT`, or the default configuration of a space."""
    repetition: int | None
    """Repetition of the search; None for a default configuration."""
    seed: int
    params: Mapping[str, ParamValue]
    value: float
    """mAP50-95 of best.pt on the validation split; 0 if the run failed."""

    @property
    def key(self) -> tuple[Task, str, int | None, int]:
        """Identity of the run, which is trained only once."""
        return self.task, self.tool, self.repetition, self.seed


def default_of(space: str) -> str:
    """Return the name of the default configuration of a space."""
    return f"default of {space}"


def planned(searches: Sequence[Search]) -> list[Retraining]:
    """Return all runs to train, without their values, ordered so that any first part is balanced."""
    chosen: list[tuple[Task, str, int | None, Mapping[str, ParamValue]]] = []
    for task in dict.fromkeys(search.task for search in searches):
        of_task = [search for search in searches if search.task == task]
        chosen.append((task, DEFAULT, None, {}))
        ours = (TOOLS[search.tool] for search in of_task)
        for space in dict.fromkeys(tool.space for tool in ours if isinstance(tool, TuneRun)):
            loaded = load_space(find_space(space, Path.cwd()))
            chosen.append((task, default_of(space), None, loaded.resolve(loaded.baseline_sampled())))
        chosen += [(task, search.tool, search.repetition, search.hand_over.params) for search in of_task]
    return [
        Retraining(task=task, tool=tool, repetition=repetition, seed=seed, params=params, value=0.0)
        for seed in SEEDS
        for task, tool, repetition, params in chosen
    ]


def retrained(runs: Sequence[Retraining], folder: Path) -> Iterator[Retraining]:
    """Train two at once; yield each run with its value as it ends.

    The image size, the batch and the number of epochs are the task's. All start from the same weights.
    """
    if not runs:
        return
    data = {task: prepared(folder / f"retraining-{number}", task) for number, task in enumerate({r.task for r in runs})}
    for _, environment in data.values():
        os.environ.update(environment, YOLO_VERBOSE="false")  # for the processes below
    os.environ.pop("OMP_NUM_THREADS", None)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(_AT_ONCE, mp_context=context)
    try:
        futures = {}
        for run in runs:
            fixed = run.task.arguments(data[run.task][0], run.seed)
            futures[pool.submit(_value, {**run.params, **fixed})] = run
        for future in as_completed(futures):
            yield replace(futures[future], value=future.result())
    finally:
        pool.shutdown(cancel_futures=True)


def _value(arguments: dict[str, Any]) -> float:
    from ultralytics import YOLO

    folder = Path(arguments["data"]).parents[1]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        try:
            metrics = YOLO(folder / MODEL).train(**arguments, project=place, verbose=False)
        except RuntimeError:  # losses that are not finite
            return 0.0
        return float(metrics.results_dict[METRIC])
