"""Record the results of a search; the only access to the database that stores them.

A study is an Optuna study in a relational database, so Optuna's own tools and dashboard can read it. `StoredStudy`
reads a study from its `StudyDatabase`. `StudySession` is a study that this process drives. It works on a copy in
memory. Every change goes through a journal on the local disk into the database, in order and exactly once, even if the
database is unreachable for a while. Only the holder of the study's lease (see `tuner.storage.lease`) drives it.
"""

from tuner.study._epoch_records import epoch_records
from tuner.study._facts import (
    NO_FACTS,
    EstimateFacts,
    FailedAttempt,
    FinalRunFacts,
    MemoryFacts,
    ProfilingFacts,
    SharingFacts,
    TrialFacts,
    jsonable,
    other_attributes,
)
from tuner.study._gpu_time import gpu_seconds
from tuner.study._opening import driven_study
from tuner.study._paths import StudyPaths, checked_study_name
from tuner.study._places import content_changes, place_problem
from tuner.study._records import Proposal, ReadableStudy, StudySpec, TrialRecord, best_trial
from tuner.study._snapshot import StudySnapshot
from tuner.study._stored_study import Objective, StoredStudy, StudyDatabase
from tuner.study._study_session import StudySession
from tuner.study._timeline import DECIDED, INTERRUPTED, LOST, OpenSpan, Span, Timeline, read_timeline

__all__ = [
    "DECIDED",
    "INTERRUPTED",
    "LOST",
    "NO_FACTS",
    "EstimateFacts",
    "FailedAttempt",
    "FinalRunFacts",
    "MemoryFacts",
    "Objective",
    "OpenSpan",
    "ProfilingFacts",
    "Proposal",
    "ReadableStudy",
    "SharingFacts",
    "Span",
    "StoredStudy",
    "StudyDatabase",
    "StudyPaths",
    "StudySession",
    "StudySnapshot",
    "StudySpec",
    "Timeline",
    "TrialFacts",
    "TrialRecord",
    "best_trial",
    "checked_study_name",
    "content_changes",
    "driven_study",
    "epoch_records",
    "gpu_seconds",
    "jsonable",
    "other_attributes",
    "place_problem",
    "read_timeline",
]
