"""What can go wrong in a trainer, split by what the caller should do about it.

    TrainerError                         root of them all
    ├── DataError                        the data set is at fault: mend the file that the message names
    │   ├── RefusedKeyError              a key of its YAML has a value that it cannot have (`trainer.data`)
    │   └── UndecodableError             training cannot read this image (`trainer.data.checking`)
    ├── ModelError                       the model is at fault: mend its description or choose another
    │   └── BackendUnavailableError      a selective scan was asked for by name that does not run here: choose another
    ├── UnsupportedUltralyticsError      another version of ultralytics is needed (`trainer.ultralytics_bridge`)
    ├── DivergedError                    the losses left the finite numbers: a bad configuration, try others
    └── OutOfMemoryError                 the device ran out of memory: a smaller batch, image size or model may fit

Every message is one line that says the rule, the value given and the remedy. `Stopped` is no error, but a request.
"""


class Stopped(BaseException):
    """A stop signal came; not an Exception, so that no handler on the way swallows it."""


class TrainerError(Exception):
    """Root of the errors that a trainer raises on purpose."""


class DataError(TrainerError):
    """A data set cannot be used as it is; trying again without a change fails again."""


class ModelError(TrainerError):
    """A model cannot be built or loaded; trying again without a change fails again."""


class BackendUnavailableError(ModelError):
    """The implementation of the selective scan that was asked for does not work here; the message says why."""


class DivergedError(TrainerError):
    """A loss became NaN or infinite."""


class OutOfMemoryError(TrainerError):
    """The device had too little memory for this configuration."""
