"""Tools that take part: the command of each, where it reports its epochs, and the configuration that it hands over.

ultralytics' tuners get their own defaults: search space, optimizer (AdamW, which `model.tune` fixes), 300 iterations;
with Ray, Optuna's TPE, ASHA with a grace period of 10 epochs, and one CPU for each trial on two cores. They write their
results as they come, so they are stopped when the time is over, and the best on the disk counts.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ruamel.yaml import YAML

import tuner
from benchmarks.end_to_end.phases import Row, rows_of_csv, rows_of_records
from benchmarks.end_to_end.setup import METRIC, MODEL, Task
from tuner.contract import ParamValue

SEARCH_SHARE = 0.6
"""Share of the budget for `--max-hours` of `tune run`; the rest is for its start and the re-evaluation."""

REEVALUATION = "studies/study/reevaluation/"
"""Folder of the runs that re-evaluate the best trials of `tune run`."""


@dataclass(frozen=True, kw_only=True)
class HandOver:
    """Configuration that a tool hands over."""

    params: Mapping[str, ParamValue]
    """Arguments of ultralytics' `train` that differ from its defaults or were fixed."""
    said: float | None
    """mAP50-95 that the tool has seen of it; None if no run has a result, and the tool's own default is handed over."""
    comment: str = ""
    """What the tool says about it."""


class Tool(Protocol):
    """Tool that searches hyper-parameters."""

    @property
    def files(self) -> Sequence[str]:
        """Globs of the files in which trainers report epochs."""

    def command(self, folder: Path, data: Path, task: Task, seed: int) -> list[str]:
        """Return the command line, to run in this folder."""

    def rows(self, text: str) -> list[Row]:
        """Return the epochs in one of these files."""

    def hand_over(self, folder: Path) -> HandOver:
        """Return what the tool hands over, from its files."""


@dataclass(frozen=True)
class TuneRun:
    """`tune run` with a shipped space."""

    space: str
    files = ("studies/study/trials/*/records.jsonl", f"{REEVALUATION}*/records.jsonl")

    def command(self, folder: Path, data: Path, task: Task, seed: int) -> list[str]:
        """Return the command line: all but the final run, with batch and image size fixed as for the peers."""
        options = {
            "--space": self.space,
            "--data": data,
            "--model": folder / MODEL,
            "--gpus": 0,
            "--home": folder / "studies",
            "--study": "study",
            "--imgsz": task.imgsz,
            "--epochs": task.epochs,
            "--seed": seed,
            "--trials": 60,  # the time ends the search; the disk must hold the weights of all
            "--max-hours": SEARCH_SHARE * task.budget_s / 3600,
        }
        settings = ["--set", f"batch={task.batch}", "--set", f"nbs={task.batch}", "--no-promote"]
        pairs = (str(part) for option in options.items() for part in option)
        return [sys.executable, "-m", "tuner", "run", *pairs, *settings]

    def rows(self, text: str) -> list[Row]:
        """Read `records.jsonl`."""
        return rows_of_records(text)

    def hand_over(self, folder: Path) -> HandOver:
        """Return the configuration that `tune promote` would train in full."""
        study = tuner.open_study("study", home=str(folder / "studies"))
        try:
            winner = study.winner
            if winner is None:
                default = study.trials[0]
                return HandOver(params=default.params, said=None)
            return HandOver(params=winner.trial.params, said=winner.trial.value, comment=study.summary)
        finally:
            study.close()


class _Ultralytics:
    """Tuner of ultralytics, called as its documentation shows."""

    files: Sequence[str] = ("runs/**/results.csv",)
    options: Mapping[str, Any]

    def command(self, folder: Path, data: Path, task: Task, seed: int) -> list[str]:
        """Return the command line of a Python process that calls `model.tune`."""
        arguments = {**self.options, "project": str(folder / "runs"), **task.arguments(data, seed)}
        code = f"from ultralytics import YOLO\nYOLO({str(folder / MODEL)!r}).tune(**{arguments!r})"
        return [sys.executable, "-c", code]

    def rows(self, text: str) -> list[Row]:
        """Read `results.csv`."""
        return rows_of_csv(text)


class Genetic(_Ultralytics):
    """`model.tune()`: one trial after the other, the first with the default configuration."""

    options: Mapping[str, Any] = {}

    def hand_over(self, folder: Path) -> HandOver:
        """Return `best_hyperparameters.yaml`, which the tuner writes after each iteration."""
        best = folder / "runs/tune/best_hyperparameters.yaml"
        if not best.exists():
            return _own_default()
        results = (folder / "runs/tune/tune_results.ndjson").read_text()
        fitness = [json.loads(line)["fitness"] for line in results[: results.rfind("\n")].splitlines()]
        params = YAML(typ="safe").load(best)
        return HandOver(params={**_OPTIMIZER, **params}, said=max(fitness))


class RayTune(_Ultralytics):
    """`model.tune(use_ray=True)`."""

    options: Mapping[str, Any] = {"use_ray": True}

    def hand_over(self, folder: Path) -> HandOver:
        """Return the trial with the highest metric at any epoch, even if it has not ended."""
        values = {}
        for file in (folder / "runs/tune").glob("*/result.json"):
            text = file.read_text()
            reports = map(json.loads, text[: text.rfind("\n") + 1].splitlines())
            found = [report[METRIC] for report in reports if METRIC in report]
            if found:
                values[file.parent] = max(found)
        if not values:
            return _own_default()
        best = max(values, key=values.__getitem__)
        config = json.loads((best / "params.json").read_text())
        return HandOver(
            params={**_OPTIMIZER, **{name: value for name, value in config.items() if name != "data"}},
            said=values[best],
        )


_OPTIMIZER: Mapping[str, ParamValue] = {"optimizer": "AdamW"}


def _own_default() -> HandOver:
    return HandOver(params=_OPTIMIZER, said=None)


TOOLS: Mapping[str, Tool] = {
    "tune run (full)": TuneRun("full"),
    "model.tune(use_ray=True)": RayTune(),
    "model.tune()": Genetic(),
    "tune run (strong_aug)": TuneRun("strong_aug"),
    "tune run (weak_aug)": TuneRun("weak_aug"),
}
"""The first three take part unless others are chosen: they search loss weights and each augmentation, too."""
