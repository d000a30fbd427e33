"""What can go wrong in a trainer, split by what the caller should do about it.

    TrainerError             root of them all
    ├── DataError            the data set is at fault: mend the file that the message names
    ├── ModelError           the model is at fault: mend its description or choose another
    │   └── BackendUnavailable   a selective scan was asked for by name that does not run here: choose another
    ├── Diverged             the losses left the finite numbers: a bad configuration, try others
    └── OutOfMemory          the device ran out of memory: a smaller batch, picture size or model may fit

Every message is one line that says the rule, the value given and the remedy.
"""


class Stopped(BaseException):
    """A stop signal came; not an Exception, so that no handler on the way swallows it."""


class TrainerError(Exception):
    """Root of the errors that a trainer raises on purpose."""


class DataError(TrainerError):
    """A data set cannot be used as it is; trying again without a change fails again."""


class ModelError(TrainerError):
    """A model cannot be built or loaded; trying again without a change fails again."""


class BackendUnavailable(ModelError):  # noqa: N818 - an answer about this machine, not a fault
    """The implementation of the selective scan that was asked for does not work here; the message says why."""


class Diverged(TrainerError):  # noqa: N818 - an outcome of training, not a fault in it
    """A loss became NaN or infinite."""


class OutOfMemory(TrainerError):  # noqa: N818 - an outcome of training, not a fault in it
    """The device had too little memory for this configuration."""
