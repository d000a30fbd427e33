"""Define the errors that `tuner` raises, by what the user should do next.

TunerError                      1   internal error when raised itself: report it
├── UsageError                  2   fix the command line
├── SpaceError                  3   fix the search space or the settings in it
│   └── UnfitError                  fix this value (`tuner.space`)
├── DataError                   4   fix the data set
├── MachineError                5   fix the machine: devices, folders, packages
├── NoSuccessfulTrialError      6   read the causes, change the space
├── FailurePolicyError          7   read the failure that repeats
├── StorageError                8   make the database available, run the same command again
│   ├── StudyChangedError           stop other programs from writing to the study, run the same command again
│   └── RecordRemovedError          leave the study's files in place, run the same command again
├── StudyLockedError            9   wait for the other driver, or stop it
├── RunStoppedError            75   call the Python API again to resume: a signal from outside stopped its run
└── ContractError                   fix the trainer: a line on the pipe is not a message of `tuner.contract`
    └── UnknownTypeError            update the trainer or the tuner: one of them does not know this type of message

The number is the exit code of the `tune` command. 75 (preempted: please requeue), 129, 130 and 143 mean a signal: run
the same command again to resume. A signal is not an error, so `tuner.system.signals.Interrupted` is outside the tree.
"""


class TunerError(Exception):
    """Base of all errors; its text is one line, written for the user."""

    exit_code = 1


class UsageError(TunerError):
    """The command line asks for something impossible."""

    exit_code = 2


class SpaceError(TunerError):
    """A search space, or a setting in it, breaks a rule; the message names file and line if there is a file."""

    exit_code = 3


class DataError(TunerError):
    """The data set cannot be trained on."""

    exit_code = 4


class MachineError(TunerError):
    """The machine lacks a resource: a GPU, a writable folder, or a package of the right version."""

    exit_code = 5


class NoSuccessfulTrialError(TunerError):
    """The search has ended without a complete trial."""

    exit_code = 6


class FailurePolicyError(TunerError):
    """A failure policy ended the search."""

    exit_code = 7


class StorageError(TunerError):
    """The study's database cannot be reached, read or written."""

    exit_code = 8


class StudyChangedError(StorageError):
    """Another program changed the study while it ran, so its trials are no longer those of this driver."""


class RecordRemovedError(StorageError):
    """The study's folder, database or journal was removed, moved or replaced while it ran."""


class StudyLockedError(TunerError):
    """Another driver is running this study."""

    exit_code = 9


class RunStoppedError(TunerError):
    """A signal from outside stopped a run that the Python API had started; the same call resumes it."""

    exit_code = 75
