"""Say above the page of a stored study that it is not the last word: it is still driven, or unfinished."""

from datetime import datetime

from tuner.study import TrialRecord
from tuner.training.final_run import waiting


def stored_notice(trials: tuple[TrialRecord, ...], driver: str | None, now: datetime) -> str:
    """Return one sentence; empty for a study that is done.

    Args:
        trials: All trials of the study.
        driver: Process that drives the study, for people; None if there is none.
        now: Time of the page, with its zone.
    """
    if driver is not None:
        return f"Snapshot of {written_at(now)}: {driver} runs this study."
    unfinished = waiting(trials)
    return f"The search is unfinished: {unfinished}; the command that started it continues it." if unfinished else ""


def written_at(now: datetime) -> str:
    """Return a time to the second with its zone, such as 2026-11-28 21:00:05 UTC."""
    return f"{now:%Y-%m-%d %H:%M:%S %Z}"
