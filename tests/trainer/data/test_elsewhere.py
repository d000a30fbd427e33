"""Labels in places where training does not look: reported with both places. Files that two images share."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.checking.check import check
from trainer.data.dataset import resolve
from trainer.exceptions import DataError
from tuner.contract.data_report import DataReport

YAML = "train: images/train\nval: images/val\nnames: [cat, dog, bird]\n"


class Made:
    """A data set of unique images, each with its own labels."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._rng = np.random.default_rng(0)
        for split in ("train", "val"):
            for number in range(4):
                self.put(f"images/{split}/{number}.png", f"labels/{split}/{number}.txt")
        (root / "data.yaml").write_text(YAML)

    def put(self, image: str, label: str = "", rows: str = "1 0.5 0.5 0.4 0.4\n") -> Path:
        path = self.root / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self._rng.integers(0, 256, (24, 32, 3), np.uint8)).save(path)
        if label:
            self.write(label, rows)
        return path

    def write(self, file: str, text: str) -> None:
        (self.root / file).parent.mkdir(parents=True, exist_ok=True)
        (self.root / file).write_text(text)

    def report(self) -> DataReport:
        return check(resolve(self.root / "data.yaml"))

    def found(self, kind: str) -> list[tuple[str, str]]:
        """Return the places of findings of this kind: the file and what was found there."""
        return [
            (str(Path(place.file).relative_to(self.root)), place.found)
            for finding in self.report().findings
            if finding.kind == kind
            for place in finding.places
        ]


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path / "data")


PLACES = {
    "a folder images below images": ("images/train/cam1/images/x.jpg", "labels/train/cam1/images/x.txt"),
    "labels in a folder below": ("images/train/cam1/images/x.jpg", "images/train/cam1/images/labels/x.txt"),
    "next to the image": ("images/train/x.jpg", "images/train/x.txt"),
    "a suffix in capitals": ("images/train/x.jpg", "labels/train/x.TXT"),
    "the image's suffix kept": ("images/train/x.jpg", "labels/train/x.jpg.txt"),
    "a folder in the singular": ("images/train/x.jpg", "label/train/x.txt"),
    "a folder in capitals": ("images/train/x.jpg", "Labels/train/x.txt"),
    "a folder called annotations": ("images/train/x.jpg", "annotations/x.txt"),
    "labels without folders for the splits": ("images/train/x.jpg", "labels/x.txt"),
}


@pytest.mark.parametrize("case", PLACES)
def test_labels_elsewhere_are_reported_with_both_places(made, case):
    image, label = PLACES[case]
    made.put(image, label)
    ((file, found),) = made.found("labels-elsewhere")
    assert file == image
    expected, _, lies = found.partition(", found: ")
    assert expected.startswith("expected: ")
    assert expected.endswith("/x.txt")
    assert lies == label
    assert expected != f"expected: {label}"
    assert made.found("missing-labels") == made.found("orphan-labels") == []


def test_the_nearest_of_two_files_with_the_same_name_is_reported(made):
    made.put("images/train/a/x.jpg", "old/val/b/x.txt")
    made.write("old/train/a/x.txt", "1 0.5 0.5 0.4 0.4\n")
    ((_, found),) = made.found("labels-elsewhere")
    assert found.endswith("found: old/train/a/x.txt")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("notes/x.txt", "remember to label this"),
        ("notes/x.txt", ""),
        ("labels/train/y.txt", "1 0.5 0.5 0.4 0.4\n"),
        (".trash/x.txt", "1 0.5 0.5 0.4 0.4\n"),
    ],
)
def test_other_files_are_not_mistaken_for_labels(made, file, text):
    made.put("images/train/x.jpg")
    made.write(file, text)
    assert made.found("labels-elsewhere") == []
    assert [name for name, _ in made.found("missing-labels")] == ["images/train/x.jpg"]


def test_the_labels_of_another_split_are_not_mistaken_for_those_of_an_image_with_the_same_name(made):
    (made.root / "labels/val/0.txt").unlink()
    assert made.found("labels-elsewhere") == []


@pytest.mark.parametrize("folder", ["Images", "IMAGES", "imgs", "JPEGImages"])
def test_if_no_image_has_labels_the_refusal_says_where_they_are(made, folder):
    (made.root / "images").rename(made.root / folder)
    (made.root / "data.yaml").write_text(YAML.replace("images/", f"{folder}/"))
    with pytest.raises(DataError) as refused:
        resolve(made.root / "data.yaml")
    assert f"{made.root}/{folder}/train/0.txt" in str(refused.value)
    assert "found 4 label files of these names elsewhere" in str(refused.value)
    assert f"{made.root}/labels/train/0.txt" in str(refused.value)


# Other formats

VOC = "<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>"
COCO = json.dumps({"info": {}, "images": [], "annotations": [], "categories": []})
FORMATS = {
    "COCO": ("annotations/instances_train.json", COCO),
    "Pascal VOC": ("images/train/x.xml", VOC),
    "LabelMe": ("images/train/x.json", json.dumps({"version": "5", "shapes": [], "imagePath": "x.jpg"})),
    "CVAT": ("annotations.xml", "<annotations><image id='0' name='x.jpg'></image></annotations>"),
    "CSV": ("train/_annotations.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\n"),
    "CreateML": (
        "images/train/_annotations.createml.json",
        '[{"image": "x.jpg", "annotations": [{"label": "cat", "coordinates": {"x": 1}}]}]',
    ),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_annotations_of_another_format_are_reported_if_images_have_no_labels(made, kind):
    file, text = FORMATS[kind]
    made.write(file, text)
    assert made.found("foreign-labels") == []
    made.put("images/train/x.jpg")
    assert made.found("foreign-labels") == [(file, kind)]


@pytest.mark.parametrize("kind", ["COCO", "CVAT", "CSV"])
def test_if_no_image_has_labels_the_refusal_names_what_is_there_instead(made, kind):
    file, text = FORMATS[kind]
    made.write(file, text)
    shutil.rmtree(made.root / "labels")
    remedy = ": give this file as the data set" if kind == "COCO" else ", which are not supported"
    with pytest.raises(DataError, match=f"has {kind} annotations{remedy}"):
        resolve(made.root / "data.yaml")


@pytest.mark.parametrize("text", ["{}", '{"images": 3}', "no JSON", ""])
def test_another_file_is_not_mistaken_for_annotations(made, text):
    made.put("images/train/x.jpg")
    made.write("package.json", text)
    assert made.found("foreign-labels") == []


# Shared label files


@pytest.mark.parametrize(
    ("first", "second"),
    [("0.png", "0.jpg"), ("x.jpg", "x.jpeg"), ("x.png", "x.webp"), ("x.jpg", "x.JPG"), ("below/x.bmp", "below/x.tif")],
)
def test_images_that_share_a_label_file_are_reported_with_both_names(made, first, second):
    for name in (first, second):
        made.put(f"images/train/{name}", str(Path("labels/train", name).with_suffix(".txt")))
    one, other = sorted((first, second))
    label = Path("labels/train", first).with_suffix(".txt")
    assert made.found("shared-labels") == [(f"images/train/{other}", f"reads {label}, like images/train/{one}")]


def test_images_with_the_same_name_in_two_splits_or_without_labels_share_nothing(made):
    made.put("images/train/x.jpg")
    made.put("images/train/x.png")
    assert made.found("shared-labels") == []


# Names and numbers of classes


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("[cat, dog, cat]", "0: 'cat', 2: 'cat'"),
        ("[cat, Cat, dog]", "0: 'cat', 1: 'Cat'"),
        ("[traffic light, dog, 'traffic  light ']", "0: 'traffic light', 2: 'traffic light'"),
        ("[trafficlight, dog, Traffic Light]", "0: 'trafficlight', 2: 'Traffic Light'"),
        ("{0: a, 1: b, 2: A}", "0: 'a', 2: 'A'"),
    ],
)
def test_classes_with_the_same_name_are_reported_with_their_ids(made, names, told):
    made.write("data.yaml", YAML.replace("[cat, dog, bird]", names))
    assert made.found("same-class-name") == [("data.yaml", told)]


def test_classes_with_different_names_are_not_reported(made):
    assert made.found("same-class-name") == []


def relabel(made: Made, rows: dict[int, str]) -> None:
    for split in ("train", "val"):
        for number in range(4):
            made.write(f"labels/{split}/{number}.txt", rows[number])


@pytest.mark.parametrize("ids", [(1, 2, 3, 3), (3, 3, 3, 3), (2, 3, 2, 3)])
def test_class_ids_that_are_counted_from_one_are_reported(made, ids):
    relabel(made, {number: f"{class_id} 0.5 0.5 0.4 0.4\n" for number, class_id in enumerate(ids)})
    ((file, found),) = made.found("class-ids-from-one")
    assert file == "data.yaml"
    assert "no row has class 0" in found


@pytest.mark.parametrize("ids", [(0, 1, 2, 3), (1, 2, 1, 2), (1, 2, 3, 4)])
def test_other_wrong_class_ids_are_not_mistaken_for_those_counted_from_one(made, ids):
    relabel(made, {number: f"{class_id} 0.5 0.5 0.4 0.4\n" for number, class_id in enumerate(ids)})
    assert made.found("class-ids-from-one") == []


def corner_rows(rng: np.random.Generator) -> str:
    starts = rng.uniform(0.0, 0.6, (3, 2))
    ends = starts + rng.uniform(0.1, 0.4, (3, 2))
    return "".join(f"0 {a:.4f} {b:.4f} {c:.4f} {d:.4f}\n" for (a, b), (c, d) in zip(starts, ends, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_boxes_given_by_their_corners_are_reported(made, seed):
    rng = np.random.default_rng(seed)
    relabel(made, {number: corner_rows(rng) for number in range(4)})
    assert len(made.found("corner-boxes")) == 1


@pytest.mark.parametrize("rows", ["0 0.5 0.5 0.9 0.9\n1 0.5 0.5 0.8 0.7\n", "0 0.2 0.3 0.1 0.1\n1 0.9 0.5 0.3 0.2\n"])
def test_large_boxes_and_boxes_over_the_border_are_not_mistaken_for_corners(made, rows):
    relabel(made, dict.fromkeys(range(4), rows))
    assert made.found("corner-boxes") == []
