"""One COCO JSON file: what counts, what is left out, and what is refused."""

import pytest

from tests.support.coco_json import BOX, CATEGORIES, annotation, coco, put_json
from trainer.data.coco.reading import CROWD, KEYPOINTS, NO_BOX, NO_IMAGE, ListedImage, read_coco
from trainer.exceptions import DataError


def with_annotations(*annotations, **more):
    return {**coco(["a.jpg", "b.jpg"]), "annotations": list(annotations), **more}


def refused(tmp_path, content) -> str:
    with pytest.raises(DataError) as error:
        read_coco(put_json(tmp_path / "x.json", content))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_images_categories_and_boxes_are_read_in_any_order_of_the_lists(tmp_path):
    content = coco(["a.jpg", "b.jpg"])
    turned = dict(reversed(content.items()))
    for each in (content, turned):
        read = read_coco(put_json(tmp_path / "x.json", each))
        assert read.images == (
            ListedImage(file_name="a.jpg", width=100, height=100),
            ListedImage(file_name="b.jpg", width=100, height=100),
        )
        assert {number: category.name for number, category in read.categories.items()} == {1: "cat", 2: "dog"}
        assert read.boxes.tolist() == [list(BOX)] * 2
        assert read.image_of_box.tolist() == [0, 1]
        assert read.counts == {}


def test_annotations_without_a_box_are_left_out_and_counted(tmp_path):
    content = with_annotations(
        annotation(1),
        annotation(1, iscrowd=1, segmentation={"counts": [1], "size": [2, 2]}),
        annotation(2, box=()),
        annotation(99),
        annotation(2, keypoints=[1, 2, 2], num_keypoints=1),
    )
    read = read_coco(put_json(tmp_path / "x.json", content))
    assert read.image_of_box.tolist() == [0, 1]
    assert read.counts == {CROWD: 1, NO_BOX: 1, NO_IMAGE: 1, KEYPOINTS: 1}


def test_a_polygon_without_a_bbox_has_the_box_around_it(tmp_path):
    entry = annotation(1, segmentation=[[5, 5, 9, 7, 6, 30], [1, 8, 2, 9, 3, 10]])
    del entry["bbox"]
    assert read_coco(put_json(tmp_path / "x.json", with_annotations(entry))).boxes.tolist() == [[1, 5, 8, 25]]


@pytest.mark.parametrize("number", ["7", 7.0])
def test_ids_that_tools_write_as_text_or_floats_are_read(tmp_path, number):
    content = with_annotations(annotation(1, category=number), categories=[{"id": 7, "name": "x"}])
    assert read_coco(put_json(tmp_path / "x.json", content)).category_of_box.tolist() == [7]


def test_sizes_that_are_missing_are_0(tmp_path):
    content = {**coco(["a.jpg"]), "images": [{"id": 1, "file_name": "a.jpg", "width": None, "height": -3}]}
    assert read_coco(put_json(tmp_path / "x.json", content)).images[0] == ListedImage(
        file_name="a.jpg", width=0, height=0
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "this is a list of predictions"),
        ([{"id": 1, "data": {"image": "x"}, "annotations": []}], "this is Label Studio; export the labels as COCO"),
        ([{"image": "x.jpg", "annotations": [{"coordinates": {}}]}], "this is CreateML"),
        ({"version": "5.0", "shapes": [], "imagePath": "x.jpg", "imageData": None}, "this is LabelMe"),
        ({"_via_settings": {}, "_via_img_metadata": {}}, "this is VIA"),
        ({"x.jpg123": {"filename": "x.jpg", "size": 123, "regions": []}}, "this is VIA"),
        ({"type": "FeatureCollection", "features": []}, "this is GeoJSON"),
        ({"name": "package", "version": "1"}, "but it has no images, annotations, categories"),
        ({**coco(["a.jpg"]), "categories": []}, "it has no categories"),
        ({k: v for k, v in coco(["a.jpg"]).items() if k != "annotations"}, "it has no annotations; give the JSON with"),
        (with_annotations({"id": 1, "image_id": 1, "caption": "A cat"}), "none of 1 has one: these are captions"),
        (with_annotations({"image_id": 1, "segments_info": []}), "this is panoptic segmentation"),
        ([1, 2], "it has no images, annotations, categories"),
        ("42", "must be JSON, but got text that begins with '42'"),
    ],
)  # fmt: skip
def test_another_format_is_refused_by_its_name(tmp_path, content, told):
    assert told in refused(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (with_annotations(annotation(1, box=(1, 2, 3))), "bbox must be four finite numbers, but annotation 1 has"),
        (with_annotations(annotation(1, box=(1, 2, float("nan"), 4))), "four finite numbers"),
        (with_annotations(annotation(1, box=(1, 2, 10**400, 4))), "four finite numbers"),
        (with_annotations(annotation(1, box=("1", 2, 3, 4))), "four finite numbers"),
        (with_annotations(annotation(1, category=9)), "the id of a category, but got 9, and the ids are [1, 2]"),
        (with_annotations(annotation(1, category=None)), "must have an image_id and a whole category_id"),
        (with_annotations("box"), "Every annotation must be an object, but got 'box'"),
        (with_annotations(annotation(8), annotation(9)), "all 2 are others, such as 8, and the ids are [1, 2]"),
        ({**coco(["a.jpg"]), "images": [{"id": 1}]}, "Every image must have an id and a file_name"),
        ({**coco(["a.jpg"]), "images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]},
         "'a' and 'b' have the id 1"),
        ({**coco(["a.jpg"]), "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
         "'a' and 'b' have the id 1"),
        ({**coco(["a.jpg"]), "categories": [{"id": "one", "name": "a"}]}, "a whole id and a name"),
    ],
)  # fmt: skip
def test_a_contradiction_is_refused_with_the_value(tmp_path, content, told):
    assert told in refused(tmp_path, content)


def test_the_same_entry_twice_counts_once(tmp_path):
    content = coco(["a.jpg"])
    content["images"] *= 2
    content["categories"] = [*CATEGORIES, *CATEGORIES]
    read = read_coco(put_json(tmp_path / "x.json", content))
    assert (len(read.images), len(read.categories), len(read.boxes)) == (1, 2, 1)
