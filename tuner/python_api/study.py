"""Read the results of a study: its trials, the winner and the verdict, as records, data frames, files and a page."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from tuner.comparison.contest import Verdict
from tuner.contract import ParamValue
from tuner.exceptions import NoSuccessfulTrialError, TunerError
from tuner.study import FinalRunFacts, StoredStudy, StudyPaths, StudySpec, TrialRecord, best_trial
from tuner.training.export import (
    length_of_full_run,
    mode_of_full_run,
    params_yaml,
    training_arguments,
    write_params,
)
from tuner.training.final_run import Winner, choose_winner, standing

if TYPE_CHECKING:
    from pandas import DataFrame


class Study:
    """Study of `tune run`; everything is read from its database on access, which works while it runs.

    Every access raises StorageError if the database cannot be used. Get an object from `tuner.run` or
    `tuner.open_study`.
    """

    def __init__(self, study: StoredStudy, paths: StudyPaths) -> None:
        self._study = study
        self._paths = paths

    def __repr__(self) -> str:
        return f"<Study {self.name!r}: {self._state()}>"

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self.name)}</b>: {escape(self._state())}</p>"

    def _state(self) -> str:
        try:
            return f"{len(self.trials)} trials. {self.summary}"
        except TunerError as error:  # a debugger or a notebook must be able to show it all the same
            return str(error)

    @property
    def name(self) -> str:
        """Name of the study."""
        return self._study.name

    @property
    def folder(self) -> Path:
        """Folder that holds the files of the study."""
        return self._paths.root

    @property
    def spec(self) -> StudySpec:
        """Space, data set, model, metric and versions of the study."""
        return self._study.spec

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials, ordered by number; trial 0 is the default configuration."""
        return self._study.trials()

    @property
    def best(self) -> TrialRecord | None:
        """Complete trial with the highest metric, in 0..1; None before there is one.

        The best of many noisy values is biased upwards: `winner` is the trial to use, `verdict` says how sure it is.
        """
        return best_trial(self.trials)

    @property
    def winner(self) -> Winner | None:
        """Trial that is trained in full, with what is known of its gain; None before a trial is complete."""
        try:
            return choose_winner(self._study)
        except NoSuccessfulTrialError:
            return None

    @property
    def verdict(self) -> Verdict | None:
        """Comparison of the best trials with the default configuration on fresh seeds; None before there is one."""
        winner = self.winner
        return None if winner is None else winner.verdict

    @property
    def summary(self) -> str:
        """Result in one sentence: the verdict or, before there is one, the best trial."""
        return standing(self._study)

    @property
    def final_run(self) -> FinalRunFacts | None:
        """Facts about the final run, with the path of best.pt once it is complete; None before there is one."""
        return self._study.final_run

    @property
    def params(self) -> dict[str, ParamValue]:
        """Arguments for ultralytics' `train` that train the winner in full.

        Raises:
            NoSuccessfulTrialError: No trial is complete.
        """
        winner = choose_winner(self._study)
        length, mode = length_of_full_run(self._study, winner), mode_of_full_run(self._study, winner)
        return training_arguments(self.spec, winner, length, mode)

    def export(self, target: Path | str = "params.yaml", *, epochs: int | None = None) -> Path:
        """Write the winner's arguments for `yolo train cfg=params.yaml`; return the path of the file.

        Args:
            target: File to write.
            epochs: Number of epochs to write; None for that of the final run, or of the space.

        Raises:
            NoSuccessfulTrialError: No trial is complete.
            MachineError: The file cannot be written.
        """
        winner = choose_winner(self._study)
        length = epochs or length_of_full_run(self._study, winner)
        write_params(params_yaml(self._study, winner, length), Path(target))
        return Path(target)

    def frame(self) -> "DataFrame":
        """Return the trials as a pandas data frame, one row per trial, ordered by number.

        | column | type | |
        |---|---|---|
        | `number` | int64 | trial 0 is the default configuration |
        | `state` | str | WAITING, RUNNING, COMPLETE, PRUNED or FAIL |
        | `reason` | str | why a trial was pruned or failed; empty otherwise |
        | `value` | float64 | metric of a complete trial, in 0..1; NaN otherwise |
        | `last_value` | float64 | metric at the last validated epoch; NaN before there is one |
        | `epochs` | Int64 | trained epochs; missing before the first has ended |
        | `seconds` | float64 | training time; NaN if unknown |
        | `began`, `ended` | datetime64[us] | local time of the machine that searched; NaT before it has happened |
        | `params_*` | | one column per searched parameter, named as in the space; missing where it is not active |
        """
        from pandas import DataFrame

        rows = [_row(trial) for trial in self.trials]
        searched = dict.fromkeys(name for row in rows for name in row if name not in _TYPES)
        return DataFrame(rows, columns=[*_TYPES, *searched]).astype(_TYPES)

    def curves(self) -> "DataFrame":
        """Return the metric of all trials by validated epoch: a data frame with `trial`, `epoch` and `value`."""
        from pandas import DataFrame

        rows = [(t.number, epoch, value) for t in self.trials for epoch, value in sorted(t.curve.items())]
        return DataFrame(rows, columns=["trial", "epoch", "value"]).astype({"value": "float64"})

    def report(self, target: Path | str | None = None) -> Path:
        """Write the report as one HTML file that needs no network; return its path.

        Args:
            target: File to write; None for report.html in the study's folder.

        Raises:
            MachineError: The file cannot be written.
        """
        from tuner.report.page.page import write_page
        from tuner.report.page.study import study_page

        file = self._paths.report if target is None else Path(target)
        write_page(study_page(self._study.snapshot(), self._paths), file)
        return file

    def close(self) -> None:
        """Disconnect from the database; the next access connects again."""
        self._study.close()

    @property
    def location(self) -> tuple[str, StudyPaths]:
        """URL of the database, which may contain a password, and paths of the study."""
        return self._study.url, self._paths


def _row(trial: TrialRecord) -> dict[str, object]:
    return {
        "number": trial.number,
        "state": trial.state.name,
        "reason": trial.reason,
        "value": trial.value if trial.state == TrialState.COMPLETE else None,
        "last_value": trial.curve[max(trial.curve)] if trial.curve else None,
        "epochs": trial.facts.epochs,
        "seconds": trial.facts.seconds,
        "began": trial.began,
        "ended": trial.ended,
        **{f"params_{label}": value for label, value in trial.sampled.items()},
    }


_TYPES = {
    "number": "int64",
    "state": "str",
    "reason": "str",
    "value": "float64",
    "last_value": "float64",
    "epochs": "Int64",
    "seconds": "float64",
    "began": "datetime64[us]",
    "ended": "datetime64[us]",
}
"""Columns that every data frame has."""
