"""The errors that `tuner` raises, split by what the user should do next.

TunerError                      1   our own fault when raised bare
├── UsageError                  2   fix the command line
├── SpaceError                  3   fix the search space or the settings in it
├── DataError                   4   fix the data set
├── EnvironmentProblem          5   fix the machine: devices, folders, packages
├── NoTrialSucceeded            6   read the causes, change the space
├── StoppedByPolicy             7   read the failure that repeats
├── StorageProblem              8   bring the database back, run the same command again
│   ├── StudyChanged                let no other program write to the study, run the same command again
│   └── RecordTaken                 leave the study's files where they are, run the same command again
└── StudyLocked                 9   wait for the other driver, or stop it

The number is the exit code of the `tune` command. 75 (preempted: please requeue), 129, 130 and 143 mean a signal: run
the same command again to go on.
"""


class TunerError(Exception):
    """Root of the tree; one line of text, written for the user."""

    exit_code = 1


class UsageError(TunerError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class SpaceError(TunerError):
    """A search space, or a setting in it, breaks a rule; the message names file and line where there is one."""

    exit_code = 3


class DataError(TunerError):
    """The data set cannot be trained on."""

    exit_code = 4


class EnvironmentProblem(TunerError):  # noqa: N818 - named after what it is, not after Python's habit
    """The machine lacks something: a GPU, a writable folder, a package of the right version."""

    exit_code = 5


class NoTrialSucceeded(TunerError):  # noqa: N818
    """The search ended and no trial has a figure."""

    exit_code = 6


class StoppedByPolicy(TunerError):  # noqa: N818
    """The search was ended by a failure policy."""

    exit_code = 7


class StorageProblem(TunerError):  # noqa: N818
    """The study's database cannot be reached, read or written."""

    exit_code = 8


class StudyChanged(StorageProblem):
    """Another program has changed the study while it ran, so that it cannot be gone on with as it was."""


class RecordTaken(StorageProblem):
    """The study's folder, database or journal was removed, moved or replaced while it ran."""


class StudyLocked(TunerError):  # noqa: N818
    """Another driver runs this study now."""

    exit_code = 9
