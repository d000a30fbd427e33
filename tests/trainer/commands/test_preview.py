"""Contact sheets: they show the images of training, and nothing is written next to the user's data."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.ultralytics_bridge import environment

environment.configure()

from ultralytics.data.dataset import YOLODataset  # noqa: E402 - only after the environment is set
from ultralytics.data.utils import check_det_dataset  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402

from trainer.commands.preview import run  # noqa: E402
from trainer.data.dataset import resolve  # noqa: E402
from trainer.data.dataset_writer import write_resolved  # noqa: E402
from trainer.data.drawing import contact_sheet  # noqa: E402
from trainer.ultralytics_bridge.preview import SHOWN, Preview  # noqa: E402
from tuner.contract import Outcome, PreviewRecord, PreviewRequest, SheetSettings  # noqa: E402
from tuner.space import find_space, load_space  # noqa: E402
from tuner.workflows.preview import settings_of  # noqa: E402

OFF = {**dict.fromkeys(SHOWN, 0.0), "imgsz": 64}
EVERYTHING = {**dict.fromkeys(SHOWN, 0.5), "degrees": 20.0, "shear": 5.0, "perspective": 0.0005, "imgsz": 64}
GREY, RED = (90, 90, 90), (255, 0, 0)


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def user_data(tmp_path):
    """Return a function that makes a data set of grey images with one red box each, and returns its YAML."""

    def make(sizes, *, label="{}", names="{0: red}", exif=None, mode="RGB"):
        root = tmp_path / "data"
        for number, (width, height) in enumerate([*sizes, (64, 64)]):
            split = "train" if number < len(sizes) else "val"
            image = Image.new("RGB", (width, height), GREY)
            left, top, right, bottom = width // 4, height // 2, width // 2, height // 2 + height // 4
            image.paste(RED, (left, top, right, bottom))
            box = [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width]
            row = " ".join(f"{value:.6f}" for value in [*box, (bottom - top) / height])
            for kind in ("images", "labels"):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
            options = {"exif": exif} if exif is not None else {}
            stored = image if exif is None else image.transpose(Image.Transpose.ROTATE_90)
            stored.convert(mode).save(root / "images" / split / f"{number}.png", **options)
            text = label.format(f"0 {row}")
            (root / "labels" / split / f"{number}.txt").write_text(text)
        (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {names}\n", encoding="utf-8")
        return root / "data.yaml"

    return make


@pytest.fixture
def preview_of(tmp_path):
    def make(source, **options):
        (tmp_path / "resolved").mkdir(exist_ok=True)
        data = write_resolved(resolve(source), tmp_path / "resolved" / "data.yaml")
        return Preview(data, **{"images": 2, "draws": 3, "seed": 0, **options})

    return make


def red_pixels(cell):
    pixels = cell.pixels.astype(int)
    return np.argwhere((pixels[..., 0] > 200) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60))


def in_a_box(cell, row, column, margin=1.5):
    """Return whether a pixel is in one of the boxes, or as near as interpolation blurs edges."""
    height, width = cell.pixels.shape[:2]
    left, top, right, bottom = (cell.boxes * [width, height, width, height]).T
    in_columns = (left - margin <= column) & (column <= right + margin)
    return (in_columns & (top - margin <= row) & (row <= bottom + margin)).any()


def cells_of(sheet):
    return [cell for row in sheet.rows for cell in row.cells]


def hashes(folder):
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def ask(source, out, **params):
    """Return the end of a request for one sheet, and the record of the drawn images, None if there is none."""
    sheet = SheetSettings(name="plain", title="plain", params=params or OFF)
    request = PreviewRequest(
        data=str(source), directory=str(out.parent), out=str(out), sheets=(sheet,), images=2, draws=2, seed=0
    )
    said = []
    end = run(request, said.append)
    assert all(isinstance(record, PreviewRecord) for record in said)
    return end, said[0] if said else None


def test_without_augmentation_the_draws_are_the_untouched_image(user_data, preview_of):
    for row in preview_of(user_data([(64, 64), (128, 128), (80, 40)])).sheet("off", OFF).rows:
        untouched, *draws = row.cells
        for draw in draws:
            assert np.abs(draw.pixels.astype(int) - untouched.pixels).mean() < 1
            assert draw.boxes == pytest.approx(untouched.boxes, abs=0.01)
            assert draw.classes == untouched.classes == (0,)


@pytest.mark.parametrize(
    "changed",
    [
        {"fliplr": 1.0},
        {"flipud": 1.0},
        {"translate": 0.2},
        {"scale": 0.5},
        {"degrees": 45.0, "shear": 10.0, "perspective": 0.001},
        {"bgr": 0.0, "fliplr": 0.5, "flipud": 0.5, "degrees": 180.0, "scale": 0.9},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_boxes_move_with_what_they_hold(user_data, preview_of, changed):
    preview = preview_of(user_data([(96, 64), (64, 96), (64, 64)]), images=3, draws=8)
    for cell in cells_of(preview.sheet("changed", {**OFF, **changed})):
        found = red_pixels(cell)
        if len(cell.boxes):  # too little of an object is left in the image, so its box is dropped
            assert len(found)
            assert all(in_a_box(cell, row, column) for row, column in found)


def test_every_box_of_a_mosaic_holds_an_object(user_data, preview_of):
    preview = preview_of(user_data([(64, 64)] * 8), draws=8)
    draws = [cell for row in preview.sheet("mosaic", {**OFF, "mosaic": 1.0}).rows for cell in row.cells[1:]]
    assert max(len(cell.boxes) for cell in draws) > 1
    for cell in draws:
        found = red_pixels(cell) / 64
        for left, top, right, bottom in cell.boxes:
            held = (left <= found[:, 1]) & (found[:, 1] <= right) & (top <= found[:, 0]) & (found[:, 0] <= bottom)
            assert held.any()


def test_the_same_seed_gives_the_same_sheet_whatever_was_drawn_before(user_data, preview_of):
    source = user_data([(64, 64), (96, 64), (48, 64), (64, 32), (70, 70)])
    alone = contact_sheet.jpeg(preview_of(source).sheet("s", EVERYTHING))
    after_others = preview_of(source)
    after_others.sheet("other", {**EVERYTHING, "mosaic": 1.0, "imgsz": 96})
    after_others.sheet("other", {**EVERYTHING, "mosaic": 1.0})
    assert contact_sheet.jpeg(after_others.sheet("s", EVERYTHING)) == alone
    assert contact_sheet.jpeg(preview_of(source, seed=1).sheet("s", EVERYTHING)) != alone


def test_all_sheets_show_the_same_images_spread_over_the_data_set(user_data, preview_of):
    preview = preview_of(user_data([(64 + number, 64) for number in range(12)]), images=3)
    sheets = [preview.sheet("a", OFF), preview.sheet("b", {**EVERYTHING, "imgsz": 96})]
    shown = [[row.caption for row in sheet.rows] for sheet in sheets]
    assert shown[0] == shown[1]
    numbers = [int(caption.split(".")[0]) for caption in shown[0]]
    assert len({sorted(map(str, range(12))).index(str(number)) // 4 for number in numbers}) == 3


def test_ultralytics_gets_the_values_of_the_space(user_data, preview_of, monkeypatch, tmp_path):
    seen = []
    build = YOLODataset.build_transforms
    monkeypatch.setattr(
        YOLODataset, "build_transforms", lambda self, hyp: (seen.append(vars(hyp)), build(self, hyp))[1]
    )
    space = load_space(find_space("full", tmp_path))
    preview = preview_of(user_data([(64, 64)] * 4), images=1, draws=1)
    for setting in settings_of(space, imgsz=64, seed=3):
        seen.clear()
        preview.sheet(setting.title, setting.params)
        assert seen[-1].items() >= dict(setting.params).items()


def test_the_transforms_are_those_of_ultralytics_own_trainer(user_data, preview_of):
    preview = preview_of(user_data([(64, 64)] * 4))
    preview.sheet("everything", EVERYTHING)
    (loaded,) = preview._loaded.values()
    args = preview._arguments(EVERYTHING)
    stub = SimpleNamespace(args=args, data=check_det_dataset(args.data), model=torch.nn.Module())
    stub.model.stride = torch.tensor([8.0, 16.0, 32.0])
    trained = DetectionTrainer.build_dataset(stub, stub.data["train"], "train", 16)
    assert described(loaded._dataset.transforms) == described(trained.transforms)


def described(transform):
    """Return a transform and those within it as plain data."""
    if isinstance(transform, int | float | str | tuple | None):
        return transform
    if isinstance(transform, list):
        return [described(item) for item in transform]
    parts = {name: described(value) for name, value in vars(transform).items() if name not in {"dataset", "transform"}}
    return type(transform).__name__, parts


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ([(12, 12), (10, 11)], {}),
        ([(4000, 20), (20, 4000)], {}),
        ([(64, 48)] * 2, {"mode": "L"}),
        ([(64, 48)] * 2, {"mode": "P"}),
        ([(64, 48)], {}),
    ],
    ids=["tiny", "panorama", "grey", "palette", "a single image"],
)
def test_images_of_every_kind_are_drawn(user_data, preview_of, sizes, options):
    sheet = preview_of(user_data(sizes, **options)).sheet("everything", EVERYTHING)
    assert len(sheet.rows) == len(sizes)
    assert all(cell.pixels.shape == (64, 64, 3) for cell in cells_of(sheet))
    assert contact_sheet.jpeg(sheet)


def test_an_image_turned_by_its_exif_orientation_is_upright_with_its_boxes(user_data, preview_of):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    preview = preview_of(user_data([(96, 48)] * 2, exif=exif.tobytes()))
    for cell in cells_of(preview.sheet("flipped", {**OFF, "fliplr": 0.5})):
        found = red_pixels(cell)
        assert len(found)
        assert all(in_a_box(cell, row, column) for row, column in found)
    assert "96 x 48" in preview.sheet("off", OFF).rows[0].caption


def test_images_without_labels_are_drawn_and_noted(user_data, preview_of):
    sheet = preview_of(user_data([(64, 64)] * 3, label="")).sheet("everything", EVERYTHING)
    assert len(sheet.rows) == 2
    assert any("no training image has a label" in note for note in sheet.notes)
    assert contact_sheet.jpeg(sheet)


def test_settings_without_effect_are_noted(user_data, preview_of):
    preview = preview_of(user_data([(64, 64)] * 4))
    assert preview.sheet("off", OFF).notes == ()
    (note,) = preview.sheet("copies", {**OFF, "copy_paste": 0.1}).notes
    assert note.startswith("copy_paste has no effect")
    (note,) = preview.sheet("rect", {**OFF, "rect": True, "mosaic": 1.0, "mixup": 0.1}).notes
    assert note == "mosaic, mixup: no effect together with rect"
    (note,) = preview.sheet("sizes", {**OFF, "multi_scale": 0.5}).notes
    assert note.startswith("multi_scale is not shown")


def test_objects_of_one_class_are_named_as_training_names_them(user_data, preview_of):
    sheet = preview_of(user_data([(64, 64)] * 2)).sheet("one", {**OFF, "single_cls": True})
    assert sheet.names == {0: "item"}
    assert {class_id for cell in cells_of(sheet) for class_id in cell.classes} == {0}


def test_images_that_training_leaves_out_are_left_out(user_data, preview_of):
    source = user_data([(64, 64)] * 3)
    (source.parent / "images" / "train" / "1.png").write_bytes(b"no image")
    sheet = preview_of(source, images=3).sheet("everything", EVERYTHING)
    assert [row.caption[:5] for row in sheet.rows] == ["0.png", "2.png"]


def test_outlines_are_copied_and_so_not_noted(user_data, preview_of):
    outline = "0 0.25 0.5 0.5 0.5 0.5 0.75 0.25 0.75"
    sheet = preview_of(user_data([(64, 64)] * 4, label=outline)).sheet("copies", {**OFF, "copy_paste": 1.0})
    assert sheet.notes == ()
    assert all(len(cell.boxes) == 2 for row in sheet.rows for cell in row.cells[1:])


def test_names_that_no_font_can_write_become_numbers_with_a_note(user_data, tmp_path):
    _, drawn = ask(user_data([(64, 64)] * 2, names="{0: 𓂀}"), tmp_path / "out")
    assert drawn.notes == ("plain: class 0 is 𓂀, which no font on this machine can display",)


def test_chinese_names_are_drawn_or_noted(user_data, tmp_path):
    end, drawn = ask(user_data([(64, 64)] * 2, names="{0: 红色的东西}"), tmp_path / "out")
    assert end.outcome == Outcome.COMPLETED
    assert drawn.notes in ((), ("plain: class 0 is 红色的东西, which no font on this machine can display",))


def test_nothing_is_changed_or_left_next_to_the_data(user_data, tmp_path):
    source = user_data([(64, 64)] * 4)
    before = hashes(source.parent)
    for file in source.parent.rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    _, drawn = ask(source, tmp_path / "out", **EVERYTHING)
    assert drawn.files == (str(tmp_path / "out" / "plain.jpg"),)
    assert hashes(source.parent) == before
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["plain.jpg"]
    for file in source.parent.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)


def test_sheets_are_never_put_among_the_images(user_data):
    source = user_data([(64, 64)] * 2)
    before = hashes(source.parent)
    for folder in (source.parent, source.parent / "images" / "train" / "looks"):
        end, _ = ask(source, folder)
        assert end.outcome == Outcome.BAD_DATA
        assert "must be outside the data set's folders" in end.message
    assert hashes(source.parent) == before


def test_an_unwritable_folder_is_reported_before_anything_is_drawn(user_data, tmp_path):
    (tmp_path / "file").write_text("mine")
    end, drawn = ask(user_data([(64, 64)] * 2), tmp_path / "file" / "out")
    assert (end.outcome, drawn) == (Outcome.ERROR, None)
    assert "choose another with --out" in end.message
    assert "\n" not in end.message


def test_an_unusable_data_set_is_reported_in_one_line(user_data, tmp_path):
    source = user_data([(64, 64)] * 2)
    for file in (source.parent / "images" / "train").iterdir():
        file.write_bytes(b"no image")
    for data in (source, tmp_path / "nowhere.yaml"):
        end, _ = ask(data, tmp_path / "out")
        assert end.outcome == Outcome.BAD_DATA
        assert end.message.count("\n") == 0
