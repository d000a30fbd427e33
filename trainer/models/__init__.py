"""Model files that the trainer ships, by name."""

from pathlib import Path

__all__ = ["MODEL_NAMES", "model_yaml"]

MODEL_NAMES = (
    "mamba-yolo-n",
    "mamba-yolo-t",
    "mamba-yolo-b",
    "mamba-yolo-l",
    "mamba-yolo-aaai-t",
    "mamba-yolo-aaai-b",
    "mamba-yolo-aaai-l",
)


def model_yaml(name: str) -> Path:
    """Return the absolute path of a shipped model's YAML; ultralytics builds the model at exactly that size.

    Raises:
        ValueError: No such model is shipped.
    """
    if name not in MODEL_NAMES:
        raise ValueError(f"The model must be one of {', '.join(MODEL_NAMES)}, but got {name!r}.")
    return Path(__file__).resolve().parent / f"{name}.yaml"
