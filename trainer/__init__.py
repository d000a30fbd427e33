"""Trains detectors, Mamba-YOLO among them, on ultralytics; knows nothing of the search around it.

Importing this package costs milliseconds and loads neither torch nor ultralytics. It only arranges that
Mamba-YOLO's modules are known to ultralytics as soon as ultralytics is there, so that

    import trainer
    from ultralytics import YOLO

    YOLO(trainer.models.model_yaml("mamba-yolo-t"))

works, and so that a checkpoint opens in a fresh process: unpickling a class of `trainer.nn` imports this
package first.
"""

from trainer import _autoregister, models

__all__ = ["models"]

_autoregister.install()
