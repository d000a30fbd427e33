"""Log to W&B: one run for the study and one for each of its runs, in one group of a project."""

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B reports errors of its library to its makers otherwise

import wandb

from tuner.system.atomic_files import write_whole
from tuner.trackers.messages import LoggedRun, Subject
from tuner.trackers.places import wandb_project

_INIT_S = 20.0
"""Time that W&B has to answer when a run begins, in seconds."""


class WandbProject:
    """Runs of a study in W&B.

    The id of a run follows from the id of the study, so a resumed study continues its runs. An online run knows its
    last epoch. An offline run cannot be read back, so a file in the study's folder holds its last epoch.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._project = wandb_project(subject.name)
        self._group = os.environ.get("WANDB_RUN_GROUP") or subject.name
        self._folder = os.environ.get("WANDB_DIR") or subject.folder
        self._open: dict[str, wandb.Run] = {}
        self._logged = _LoggedEpochs(Path(subject.wandb_epochs), self._project)

    def log(self, run: LoggedRun) -> None:
        """Log the new points, and finish a run that has ended."""
        handle = self._open.get(run.key)
        after = 0
        if handle is None:
            if run.has_ended and self._logged.state(run.key) == run.state:
                return
            handle = self._open[run.key] = self._begun(run)
            handle.define_metric("*", step_metric="epoch")
            after = self._last_epoch(run.key, handle)  # this is the first call, with all points
        for epoch, values in sorted(run.points.items()):
            if epoch > after:
                handle.log({"epoch": epoch, **values})
        self._logged.note(run, state="")
        handle.summary.update({"state": run.state, "reason": run.reason, **run.summary, **run.texts})
        for path in run.files:
            handle.save(path, base_path=str(Path(path).parent), policy="now")
        if run.has_ended:
            handle.finish(exit_code=1 if run.state == "FAIL" else 0)
            del self._open[run.key]
        self._logged.note(run, state=run.state)

    def close(self) -> None:
        """Finish the runs that wait or were interrupted."""
        for handle in self._open.values():
            handle.finish(exit_code=0)

    def _begun(self, run: LoggedRun) -> wandb.Run:
        return wandb.init(
            project=self._project,
            group=self._group,
            job_type=run.kind.value,
            id=f"{self._subject.study_id}-{run.key}",
            name=run.name,
            config=dict(run.params),
            dir=self._folder,
            resume="allow",
            reinit="create_new",
            # Nothing about the machine, its programs and their output: what is logged is in docs/trackers.md.
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
                init_timeout=_INIT_S,
            ),
        )

    def _last_epoch(self, key: str, handle: wandb.Run) -> int:
        if handle.offline:
            return self._logged.epoch(key)
        epoch = handle.summary.get("epoch")  # type: ignore[no-untyped-call]
        return int(epoch or 0) if handle.resumed else 0


class _LoggedEpochs:
    """Last epoch and state of each run of a study that W&B has got, in a file, separately for each destination."""

    def __init__(self, file: Path, project: str) -> None:
        settings = (os.environ.get(name, "") for name in ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_MODE", "WANDB_DIR"))
        self._file = file
        self._all = _read(file)
        self._runs = self._all.setdefault(" ".join((project, *settings)), {})

    def epoch(self, key: str) -> int:
        """Return the last epoch of a run; 0 if there is none."""
        return int(self._runs.get(key, {}).get("epoch", 0))

    def state(self, key: str) -> str:
        """Return the last state of a run; "" if there is none."""
        return str(self._runs.get(key, {}).get("state", ""))

    def note(self, run: LoggedRun, state: str) -> None:
        """Note that the points of a run were logged and, unless it is "", its state."""
        self._runs[run.key] = {"epoch": max(run.last_epoch, self.epoch(run.key)), "state": state}
        write_whole(self._file, json.dumps(self._all).encode())


def _read(file: Path) -> dict[str, Any]:
    """Read the file; empty if there is none, or if it is damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
