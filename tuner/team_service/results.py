"""Collect results of studies: the winner, its parameters, the report, the comparison."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tuner.report.compare.comparison import Comparison, comparison_facts, comparison_of
from tuner.report.compare.page import comparison_page
from tuner.report.compare.study import compared_study
from tuner.report.page.notices import stored_notice
from tuner.report.page.page import render
from tuner.report.page.study import study_page
from tuner.report.status import status_of
from tuner.study import jsonable
from tuner.team_service.events import Position
from tuner.team_service.fresh import Fresh
from tuner.team_service.studies import FRESH_S, Row, Studies
from tuner.training.export import length_of_full_run, params_yaml
from tuner.training.final_run import choose_winner

_REPORT_S = 10.0
"""Age up to which the report of an active study is shown again, in seconds: to make one takes seconds of CPU time."""

_QUIET_REPORT_S = 300.0
"""The same for studies that are over, unless their progress has changed."""

_PAGES_AT_ONCE = 2

_MOST_REPORTS = 20
"""Maximum number of reports in memory; each has at least 1 MiB, because it carries its scripts."""


class Results:
    """Results of studies. Every method raises StorageError if the database does not answer.

    A method with one study raises HTTPException, 404, if its driver has not created it yet.
    """

    def __init__(self, studies: Studies) -> None:
        """Read the results of these studies."""
        self._studies = studies
        self._status: Fresh[dict[str, Any]] = Fresh()
        self._reports: Fresh[str] = Fresh(most=_MOST_REPORTS)
        self._pages = threading.BoundedSemaphore(_PAGES_AT_ONCE)

    def status(self, row: Row) -> dict[str, Any] | None:
        """Return what `tune status --json` prints; None before the driver has created the study."""
        if row.progress is None or row.progress.problem:
            return None
        return self._status.get(row.name, FRESH_S, lambda: self._read_status(row))

    def best(self, row: Row) -> dict[str, Any]:
        """Return the winner.

        Raises:
            NoSuccessfulTrialError: There is none yet.
        """
        recorded = self._studies.snapshot(row)
        winner = choose_winner(recorded)
        return {
            "study": row.name,
            "trial": winner.trial.number,
            "metric": recorded.spec.metric,
            "value": winner.trial.value,
            "result": winner.said(),
            "params": {name: jsonable(value) for name, value in winner.trial.params.items()},
        }

    def params(self, row: Row) -> str:
        """Return the text of `params.yaml`.

        Raises:
            NoSuccessfulTrialError: There is no winner yet.
        """
        recorded = self._studies.snapshot(row)
        winner = choose_winner(recorded)
        return params_yaml(recorded, winner, length_of_full_run(recorded, winner))

    def report(self, row: Row) -> str:
        """Return the report as HTML."""
        return self._reports.get(_key([row]), _age_s([row]), lambda: self._rendered_report(row))

    def comparison(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return what `tune compare --json` prints."""
        return comparison_facts(self._compared(rows))

    def comparison_page(self, rows: Sequence[Row]) -> str:
        """Return the page of a comparison as HTML."""
        return self._reports.get(_key(rows), _age_s(rows), lambda: self._rendered_comparison(rows))

    def _read_status(self, row: Row) -> dict[str, Any]:
        recorded = self._studies.snapshot(row)
        return status_of(recorded, recorded.driver)

    def _rendered_report(self, row: Row) -> str:
        with self._pages:
            recorded = self._studies.snapshot(row)
            notice = stored_notice(recorded.trials(), recorded.driver, datetime.now(UTC))
            return render(study_page(recorded, self._studies.paths(row), notice=notice))

    def _rendered_comparison(self, rows: Sequence[Row]) -> str:
        with self._pages:
            return render(comparison_page(self._compared(rows)))

    def _compared(self, rows: Sequence[Row]) -> Comparison:
        read = [(row, self._studies.snapshot(row)) for row in rows]
        return comparison_of(
            [
                compared_study(recorded, row.name, self._studies.paths(row), is_driven=recorded.driver is not None)
                for row, recorded in read
            ]
        )


def _key(rows: Sequence[Row]) -> str:
    return " ".join(f"{row.name} {Position.of(row).encoded()}" for row in rows)


def _age_s(rows: Sequence[Row]) -> float:
    return _QUIET_REPORT_S if all(row.is_over for row in rows) else _REPORT_S
