"""The study record: what a search has found out, and the only door to the database that keeps it.

A study is an Optuna study in a relational database, so Optuna's own tools and dashboard read it. `Study` is what the
database says. `DrivenStudy` is a study that this process drives: it works on a copy in memory, and every change goes
through a journal on the local disk into the database, in order and once each, also when the database is away for a
while. Only the holder of the study's lease (see `tuner.storage.lease`) drives it.
"""

from tuner.study._driven import DrivenStudy, driven_study
from tuner.study._places import content_changes, place_problem
from tuner.study._records import PAUSED_AT, KnownStudy, Proposal, StudySpec, TrialRecord, best_trial
from tuner.study._study import Study, study_names

__all__ = [
    "PAUSED_AT",
    "DrivenStudy",
    "KnownStudy",
    "Proposal",
    "Study",
    "StudySpec",
    "TrialRecord",
    "best_trial",
    "content_changes",
    "driven_study",
    "place_problem",
    "study_names",
]
