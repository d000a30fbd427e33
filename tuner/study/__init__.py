"""The study record: what a search has found out, and the only door to the database that keeps it.

A study is an Optuna study in a relational database, so Optuna's own tools and dashboard read it. `Study` is what the
database says. `DrivenStudy` is a study that this process drives: it works on a copy in memory, and every change goes
through a journal on the local disk into the database, in order and once each, also when the database is away for a
while. Only the holder of the study's lease (see `tuner.storage.lease`) drives it.
"""

from tuner.study._paths import StudyPaths, checked_study_name
from tuner.study._places import content_changes, place_problem
from tuner.study._records import PAUSED_AT, KnownStudy, Proposal, StudySpec, TrialRecord, best_trial
from tuner.study._stored_study import Study, study_names
from tuner.study._study_session import DrivenStudy, driven_study

__all__ = [
    "PAUSED_AT",
    "DrivenStudy",
    "KnownStudy",
    "Proposal",
    "Study",
    "StudyPaths",
    "StudySpec",
    "TrialRecord",
    "best_trial",
    "checked_study_name",
    "content_changes",
    "driven_study",
    "place_problem",
    "study_names",
]
