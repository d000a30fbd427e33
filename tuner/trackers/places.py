"""Name the places to which trackers log, from the study and the trackers' own environment variables."""

import os

from tuner.system.masking import without_secrets
from tuner.trackers.messages import Subject


def mlflow_experiment(study: str) -> str:
    """Return the name of the MLflow experiment: that of the environment, or the study's."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or study


def wandb_project(study: str) -> str:
    """Return the name of the W&B project: that of the environment, or the study's."""
    return os.environ.get("WANDB_PROJECT") or study


def place_of(tracker: str, subject: Subject) -> str:
    """Describe where a tracker logs, without secrets."""
    if tracker == "tensorboard":
        return f"event files in {subject.tensorboard}"
    if tracker == "mlflow":
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        at = f" at {without_secrets(uri, os.environ)}" if uri else ""
        number = os.environ.get("MLFLOW_EXPERIMENT_ID")
        return f"experiment {number or mlflow_experiment(subject.name)}{at}"
    mode = os.environ.get("WANDB_MODE")
    return f"project {wandb_project(subject.name)}{f', {mode}' if mode else ''}"
