"""Listed images and the files on disk."""

import pytest

from tests.support.coco_json import coco, put_image, put_json
from trainer.data.checking.images import examine, size_of
from trainer.data.coco.images import find_images, size_of_boxes, tree_name
from trainer.data.coco.layout import Annotated
from trainer.data.coco.reading import ListedImage, read_coco
from trainer.exceptions import DataError


def find(tmp_path, names, *, size=(100, 100)):
    file = put_json(tmp_path / "x.json", coco(names, size=size))
    return find_images(read_coco(file), Annotated(json=file, images=tmp_path))


@pytest.mark.parametrize(
    ("listed", "real", "size"),
    [
        ((640, 480), (640, 480), (640, 480)),
        ((0, 0), (640, 480), (640, 480)),
        ((640, 480), (0, 0), (640, 480)),
        ((640, 480), (320, 240), (640, 480)),
        ((641, 480), (320, 240), (641, 480)),
        ((640, 480), (480, 640), None),
        ((640, 480), (640, 640), None),
    ],
)
def test_boxes_refer_to_the_listed_size_unless_it_contradicts_the_image(listed, real, size):
    image = ListedImage(file_name="a.jpg", width=listed[0], height=listed[1])
    assert size_of_boxes(image, real) == size


@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_the_size_is_that_of_the_data_check(tmp_path, orientation):
    path = put_image(tmp_path / "a.jpg", (40, 20), orientation)
    facts = examine(path.read_bytes(), ".jpg")
    assert size_of(path) == (facts.width, facts.height)
    assert size_of(put_json(tmp_path / "b.jpg", "no image")) == (0, 0)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("below/a.jpg", "below/a.jpg"),
        ("./below//a.jpg", "below/a.jpg"),
        ("images/below/a.jpg", "below/a.jpg"),
        ("..\\images\\a.jpg", "a.jpg"),
        ("/home/x/a.jpg", "a.jpg"),
        ("C:\\x\\a.jpg", "a.jpg"),
        ("https://example.org/x/a.jpg", "a.jpg"),
        ("Straße 日本.jpg", "Straße 日本.jpg"),
        ("a\nb\u2028\ud83d.jpg", "a_b__.jpg"),
        (".hidden/.a.jpg", "_hidden/_a.jpg"),
    ],
)
def test_names_in_the_converted_data_set_are_relative_and_fit_in_a_list(given, name):
    assert tree_name(given) == name


def test_images_that_would_share_a_label_file_get_their_own_names(tmp_path):
    names = ["a.jpg", "a.png", "A.bmp", "below/a.jpg", "images/a.jpg"]
    for name in names:
        put_image(tmp_path / name)
    assert [image.name for image in find(tmp_path, names).images] == [
        "a.jpg", "a-2.png", "A-3.bmp", "below/a.jpg", "a-4.jpg",
    ]  # fmt: skip


def test_an_image_that_is_listed_twice_is_one_image(tmp_path):
    put_image(tmp_path / "a.jpg")
    found = find(tmp_path, ["a.jpg", "./a.jpg"])
    assert [image.numbers for image in found.images] == [(0, 1)]
    assert found.notes == ("1 of the images are listed twice, the first: 'a.jpg'; their boxes are joined",)


def test_a_few_unusable_images_are_left_out_and_reported(tmp_path):
    names = [f"{number}.jpg" for number in range(300)]
    for name in names[1:]:
        put_image(tmp_path / name, (100, 50) if name == "1.jpg" else (100, 100))
    found = find(tmp_path, names)
    assert len(found.images) == 298
    assert found.lost == (
        f"1 image is not found in {tmp_path}, the first: '0.jpg'",
        "1 image is of other proportions than the file says, the first: '1.jpg (100 x 100 in the file, in training "
        "100 x 50)'",
    )


@pytest.mark.parametrize("kind", ["missing", "foreign", "rotated"])
def test_many_unusable_images_are_refused(tmp_path, kind):
    put_image(tmp_path / "a.jpg")
    if kind == "foreign":
        put_image(tmp_path / "b.gif")
    if kind == "rotated":
        put_image(tmp_path / "b.jpg", (100, 50), 6)
    told = {
        "missing": "1 image is not found",
        "foreign": "in no format that training supports",
        "rotated": "in training 50 x 100",
    }
    with pytest.raises(
        DataError, match=rf"At most 1% of the images of a file may be unusable, but of 2 .*{told[kind]}"
    ):
        find(tmp_path, ["a.jpg", "b.gif" if kind == "foreign" else "b.jpg"])


def test_a_resized_image_keeps_its_boxes_and_is_reported(tmp_path):
    put_image(tmp_path / "a.jpg", (50, 50))
    found = find(tmp_path, ["a.jpg"])
    assert found.sizes.tolist() == [[100, 100]]
    assert found.notes == (
        "1 of the images have another size than the file says, the first: 'a.jpg'; their boxes are scaled with them",
    )
