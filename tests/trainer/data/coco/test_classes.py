"""Categories with any ids become classes from 0 without gaps."""

import numpy as np

from trainer.data.coco.classes import classes_of
from trainer.data.coco.reading import Category, CocoFile


def file(tmp_path, categories, used=()):
    return CocoFile(
        file=tmp_path,
        images=(),
        categories={
            number: Category(name=name, supercategory=parent) for number, (name, parent) in sorted(categories.items())
        },
        boxes=np.zeros((len(used), 4)),
        image_of_box=np.zeros(len(used), np.int64),
        category_of_box=np.array(used, np.int64),
        counts={},
    )


def test_classes_keep_the_order_of_the_ids_and_close_gaps(tmp_path):
    classes = classes_of({"train": file(tmp_path, {90: ("c", ""), 1: ("a", ""), 13: ("b", "")}, [13])})
    assert classes.names == ("a", "b", "c")
    assert classes.of_category == {"train": {1: 0, 13: 1, 90: 2}}


def test_the_first_category_of_roboflow_is_no_class(tmp_path):
    categories = {0: ("cells", "none"), 1: ("red", "cells"), 2: ("white", "cells")}
    classes = classes_of({"train": file(tmp_path, categories, [1, 2])})
    assert (classes.names, classes.groups) == (("red", "white"), ("cells",))
    assert classes.of_category == {"train": {1: 0, 2: 1}}


def test_a_group_with_boxes_in_any_split_is_a_class(tmp_path):
    categories = {0: ("cells", "none"), 1: ("red", "cells")}
    classes = classes_of({"train": file(tmp_path, categories, [1]), "val": file(tmp_path, categories, [0])})
    assert (classes.names, classes.groups) == (("cells", "red"), ())


def test_a_category_without_boxes_that_groups_only_itself_is_a_class(tmp_path):
    classes = classes_of({"train": file(tmp_path, {1: ("person", "person"), 2: ("cat", "animal")}, [2])})
    assert classes.names == ("person", "cat")


def test_files_may_number_the_same_names_in_other_ways(tmp_path):
    classes = classes_of(
        {
            "train": file(tmp_path, {1: ("a", ""), 2: ("b", "")}),
            "val": file(tmp_path, {1: ("b", ""), 5: ("new", "")}),
        }
    )
    assert classes.names == ("a", "b", "new")
    assert classes.of_category == {"train": {1: 0, 2: 1}, "val": {1: 1, 5: 2}}


def test_categories_of_one_name_stay_apart(tmp_path):
    categories = {1: ("a", ""), 2: ("a", "")}
    classes = classes_of({"train": file(tmp_path, categories), "val": file(tmp_path, categories)})
    assert classes.names == ("a", "a")
    assert classes.of_category["val"] == {1: 0, 2: 1}
