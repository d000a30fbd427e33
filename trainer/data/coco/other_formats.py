"""Name the format of a JSON file that is not COCO, by its keys."""

from collections.abc import Collection, Mapping

from trainer.data.coco.json_items import TOP


def format_of(keys: Collection[str], first: object) -> str:
    """Return what a JSON file is that lacks the lists of COCO; empty if it is unknown.

    Args:
        keys: Keys of the file; only `TOP` if the file is one list.
        first: First value in the file that is an object; None without one.
    """
    inner = set(first) if isinstance(first, Mapping) else set()
    kinds = _LISTS if TOP in keys else _OBJECTS
    known = inner if TOP in keys else set(keys)
    for name, needed in kinds:
        if needed <= known:
            return name
    return "VIA" if {"filename", "regions"} <= inner else ""


_LISTS = (
    ("a list of predictions", {"image_id", "category_id", "bbox", "score"}),
    ("a bare list of annotations", {"image_id", "category_id", "bbox"}),
    ("a list of captions", {"image_id", "caption"}),
    ("Label Studio", {"data", "annotations"}),
    ("Label Studio", {"data", "completions"}),
    ("Label Studio (JSON-MIN)", {"annotator", "annotation_id"}),
    ("CreateML", {"image", "annotations"}),
    ("Labelbox", {"data_row"}),
    ("Scalabel or BDD100K", {"name", "labels"}),
)
"""Name of the format -> keys of the items of a list."""

_OBJECTS = (
    ("LabelMe", {"shapes"}),
    ("VIA", {"_via_img_metadata"}),
    ("VIA 3", {"metadata", "attribute", "file"}),
    ("OpenLABEL", {"openlabel"}),
    ("GeoJSON", {"type", "features"}),
    ("Datumaro", {"categories", "items"}),
    ("Supervisely", {"objects", "size"}),
    ("Scalabel", {"frames", "config"}),
)
"""Name of the format -> keys of the file."""
