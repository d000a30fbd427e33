"""Detection of a model's task by its last layer: whether we can train it, and what it is if we cannot."""

from collections.abc import Mapping
from typing import Any

from trainer.exceptions import ModelError

DETECTORS = frozenset({"Detect", "v10Detect"})
"""Last layers of models that predict upright boxes and train on images and boxes alone."""

_PURPOSES = {
    "SemanticSegment": "semantic segmentation",
    "Segment": "segmentation",
    "Pose": "pose estimation",
    "OBB": "oriented bounding boxes",
    "Classify": "classification",
    "Depth": "depth estimation",
    "RTDETRDecoder": "RT-DETR, which needs its own trainer",
    "WorldDetect": "YOLO-World, which also learns from text",
    "YOLOE": "YOLOE, which also learns from text",
}
"""Tasks by the prefix of the last layer's name: ultralytics numbers later versions, as in `OBB26`."""


def check(layers: Any, model: str) -> None:
    """Refuse a model of another task.

    A description without a last layer passes: building the model reports the error.

    Args:
        layers: A model's YAML, parsed.
        model: The model as the user named it.

    Raises:
        ModelError: The last layer does not belong to a detector.
    """
    last = _last_layer(layers)
    if not last or last in DETECTORS:
        return
    purpose = next((text for name, text in _PURPOSES.items() if last.startswith(name)), "")
    of_purpose = f", the layer for {purpose}" if purpose else ""
    raise ModelError(
        f"The model must be a detector that ends with {' or '.join(sorted(DETECTORS))}, but '{model}' ends with "
        f"{last}{of_purpose}; choose a detection model such as mamba-yolo-t or yolov8n.yaml."
    )


def _last_layer(layers: Any) -> str:
    """Return the name of the last layer without its package; empty if there is none."""
    head = layers.get("head") if isinstance(layers, Mapping) else None
    row = head[-1] if isinstance(head, list) and head else None
    name = row[2] if isinstance(row, list) and len(row) > 2 else None
    return name.rpartition(".")[2] if isinstance(name, str) else ""
