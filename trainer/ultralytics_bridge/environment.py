"""Process setup before ultralytics is imported: offline, silent, and with private settings."""

import atexit
import logging
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from trainer.exceptions import TrainerError
from trainer.system.cache import cache_folder

TESTED_VERSION = "8.4.190"
"""Only version of ultralytics that this bridge is tested with."""

KNOWN_BAD_VERSIONS = frozenset({"8.3.41", "8.3.42", "8.3.45", "8.3.46"})
"""Releases on PyPI that carried a crypto miner (github.com/ultralytics/ultralytics/issues/18027)."""

_SWITCHES = {
    "YOLO_OFFLINE": "1",  # no DNS probe, no PyPI check, no telemetry
    "YOLO_AUTOINSTALL": "0",  # a training run must never install packages
    "ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS": "1",
    "YOLO_VERBOSE": "1",
    # A pickle can run any program. These two settings limit unpickling to tensors and known classes and prevent the
    # evaluation of a model's YAML. The second also covers the places where ultralytics forgets the first.
    "ULTRALYTICS_SAFE_LOAD": "1",
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
}
_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""New and old variable for torch's allocator of GPU memory, which reads them when CUDA starts. The size of the inputs
varies from batch to batch; segments that can grow leave less memory unused between them."""

_INTEGRATIONS = ("clearml", "comet", "dvc", "mlflow", "neptune", "raytune", "tensorboard", "wandb")


def isolate() -> None:
    """Switch off downloads, run-time installs, telemetry and unpickling; call before ultralytics is imported.

    Cheap and idempotent.

    ultralytics keeps its settings in one file that concurrent processes overwrite without a lock. Each trainer
    therefore gets its own folder, removed when the process that called this ends.
    """
    os.environ.update(_SWITCHES)
    if not any(variable in os.environ for variable in _ALLOCATOR):
        os.environ[_ALLOCATOR[0]] = "expandable_segments:True"
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)  # torch loads nothing if both are set
    if "TRITON_CACHE_DIR" not in os.environ and (compiled := _folder_for_compiled_kernels()) is not None:
        os.environ["TRITON_CACHE_DIR"] = str(compiled)
    if "TRAINER_ISOLATED" in os.environ:  # inherited by forks, and by the ranks of a multi-GPU run
        return
    folder = Path(tempfile.mkdtemp(prefix="trainer-settings-"))
    os.environ.update(YOLO_CONFIG_DIR=str(folder), TRAINER_ISOLATED="1")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _folder_for_compiled_kernels() -> Path | None:
    """Return a folder that all trainers of this user share, or None if it cannot be written."""
    folder = cache_folder() / "triton"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def configure() -> None:
    """Import ultralytics in isolation, and switch off its tracker hooks and the font download.

    Raises:
        TrainerError: The installed release is malware; it was not imported.
    """
    if malware := known_malware():
        raise TrainerError(malware)
    isolate()
    logging.getLogger("ultralytics").addFilter(_is_no_word_on_settings)
    from ultralytics.utils import SETTINGS, USER_CONFIG_DIR

    SETTINGS.update({key: False for key in ("sync", *_INTEGRATIONS) if key in SETTINGS})
    _put_font(Path(USER_CONFIG_DIR))


def _is_no_word_on_settings(record: logging.LogRecord) -> bool:
    """Filter out the message about a new settings file, which appears every time and which users cannot act on."""
    return "Ultralytics Settings" not in record.getMessage()


def known_malware() -> str:
    """Return why the installed ultralytics must not be imported, in one line; empty if it may be imported."""
    installed = version("ultralytics")
    if installed not in KNOWN_BAD_VERSIONS:
        return ""
    return (
        f"ultralytics {installed} contained malicious code on PyPI: remove it, check the machine, "
        f"then install ultralytics=={TESTED_VERSION}"
    )


def version_notes() -> tuple[str, ...]:
    """Return the problems with the installed ultralytics, one line each; empty if there are none."""
    if malware := known_malware():
        return (malware,)
    installed = version("ultralytics")
    if installed != TESTED_VERSION:
        return (
            f"ultralytics {installed} is not the version this was tested with: "
            f"pip install ultralytics=={TESTED_VERSION}",
        )
    return ()


def _put_font(folder: Path) -> None:
    """Provide a font: ultralytics downloads Arial.ttf whenever it checks a data set, but any TrueType file will do."""
    import matplotlib

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        if not (folder / name).exists():
            shutil.copyfile(font, folder / name)
