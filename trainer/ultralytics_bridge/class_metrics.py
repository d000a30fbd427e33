"""Write the metrics of each class, which ultralytics only prints."""

import csv
import io
import logging
from pathlib import Path
from typing import Any

from trainer.system import atomic_files
from tuner.contract.run_folder import CLASS_METRICS

_COLUMNS = {
    "class": "Class",
    "images": "Images",
    "boxes": "Instances",
    "precision": "Box-P",
    "recall": "Box-R",
    "mAP50": "mAP50",
    "mAP50-95": "mAP50-95",
}
"""Names of the contract -> those of ultralytics."""

logger = logging.getLogger("trainer")


def write(metrics: Any, folder: Path) -> None:
    """Write the metrics of a validation, one row for each class that has labels; a full disk costs only this file.

    Args:
        metrics: ultralytics' `DetMetrics` after a validation.
        folder: Folder of the run.
    """
    rows = metrics.summary()
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([[row[stock] for stock in _COLUMNS.values()] for row in rows])
    try:
        atomic_files.write_whole(folder / CLASS_METRICS, content.getvalue().encode())
    except OSError as error:
        logger.warning("the metrics of each class could not be written: %s", error)
