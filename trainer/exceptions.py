"""Define the errors of the trainer, grouped by what the caller should do.

    TrainerError                         base class of all
    ├── DataError                        the data set is invalid: correct the file that the message names
    │   ├── RefusedKeyError              a key of its YAML has an invalid value (`trainer.data`)
    │   └── UndecodableError             training cannot decode this image (`trainer.data.checking`)
    ├── ModelError                       the model is invalid: correct its description or choose another
    │   └── BackendUnavailableError      the selective scan chosen by name does not run here: choose another
    ├── UnsupportedUltralyticsError      another version of ultralytics is needed (`trainer.ultralytics_bridge`)
    ├── DeviceError                      a device cannot be used as it is: another try or another one may work
    ├── StoreError                       the store of the run's files cannot be used: a later try may succeed
    ├── DivergedError                    a loss is NaN or infinite: a bad configuration, try others
    └── OutOfMemoryError                 the device ran out of memory: a smaller batch, image size or model may fit

Every message is one line with the rule, the value given and the remedy. `Stopped`, with its kind `Superseded`, is
not an error, but a request.
"""


class Stopped(BaseException):
    """A stop signal; not an Exception, so that no handler swallows it."""


class Superseded(Stopped):
    """A later attempt at the run has taken over, perhaps on another machine: nobody listens to this one."""


class TrainerError(Exception):
    """Base class of the errors that a trainer raises on purpose."""


class DataError(TrainerError):
    """The data set cannot be used as it is; a retry without a change fails again."""


class ModelError(TrainerError):
    """The model cannot be built or loaded; a retry without a change fails again."""


class BackendUnavailableError(ModelError):
    """The requested implementation of the selective scan does not work here; the message gives the reason."""


class DeviceError(TrainerError):
    """The device, or the software for it, does not work as it is; a retry, perhaps on another device, may succeed."""


class StoreError(TrainerError):
    """The store for the files of a run cannot be used now; a retry may succeed."""


class DivergedError(TrainerError):
    """A loss became NaN or infinite."""


class OutOfMemoryError(TrainerError):
    """The device had too little memory for this configuration."""
