"""Train detectors, Mamba-YOLO among them, on ultralytics; know nothing of the search around it.

Importing this package costs milliseconds and loads neither torch nor ultralytics. It registers Mamba-YOLO's modules
with ultralytics as soon as that is imported, so that

    import trainer
    from ultralytics import YOLO

    YOLO(trainer.model_yaml("mamba-yolo-t"))

works, and so that a checkpoint opens in a fresh process: unpickling a class of `trainer.nn` imports this package
first. The names in `__all__` are the public interface (docs/python-api.md).
"""

from trainer import _autoregister
from trainer.exceptions import TrainerError
from trainer.models import MODEL_NAMES, model_yaml

__all__ = ["MODEL_NAMES", "TrainerError", "model_yaml"]

_autoregister.install()
