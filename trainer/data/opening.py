"""Open a data set in any form that a user may name: the bundled sample, a YAML, COCO JSON, or a folder of COCO JSON."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from trainer.data import remote
from trainer.data.coco.coco_yaml import CocoSource, read_coco_yaml
from trainer.data.coco.conversion import converted
from trainer.data.coco.layout import splits_in, splits_with
from trainer.data.dataset import DataSet, resolve
from trainer.data.dataset_yaml import is_file, is_folder
from trainer.data.sample import sample
from trainer.system.cache import cache_folder
from tuner.contract.locations import is_url

CONVERTED = "coco"
"""Name of the folder for a conversion in the folder of a study or run."""


def opened(data: str, conversion: Path | None = None) -> DataSet:
    """Find the files of a data set, and convert it if it is in COCO JSON.

    Args:
        data: `sample` or `sample:N`, or the path or URL of a YAML, of a COCO JSON file, or of a folder with such files.
        conversion: Folder for a conversion; None for one in the user's cache folder.

    Raises:
        DataError: The data set cannot be read, or is not one.
    """
    named = str(remote.fetched(data)) if is_url(data) else data
    file = Path(os.path.abspath(sample.located(named)))  # noqa: PTH100 - resolve() would follow a link away from the data
    source = _coco(file)
    if source is None:
        return resolve(file)
    if conversion is not None:
        return converted(source, conversion)
    folder = cache_folder() / "coco" / hashlib.sha256(os.fsencode(file)).hexdigest()[:16]
    found = converted(source, folder)
    return replace(found, notes=(*found.notes, f"converted from COCO JSON; the label files are in {folder}/labels."))


def _coco(file: Path) -> CocoSource | None:
    """Return the JSON files of a data set; None if it has none."""
    if is_folder(file):
        splits = splits_in(file)
    elif file.suffix.lower() == ".json" and is_file(file):
        splits = splits_with(file)
    else:
        return read_coco_yaml(file) if is_file(file) else None
    return CocoSource(source=splits["train"].json, splits=splits)
