"""The sample data set: exact boxes, no photo in both splits, reproducible bytes, never a partial folder."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from trainer.data.dataset import label_path, resolve
from trainer.data.sample import sample, scenes
from trainer.exceptions import DataError

SMALL = {"train_images": 12, "val_images": 6, "image_size": 96, "seed": 3}


def tree(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def scene(split: str, index: int, *, image_size: int = 128, seed: int = 0) -> scenes.Scene:
    """Draw the scene as `compose` does."""
    cutouts = scenes.load_cutouts()
    sources = scenes.split_sources(cutouts, seed=seed)[split]
    rng = np.random.default_rng([seed, {"train": 1, "val": 2}[split], index])
    return scenes.draw_scene(cutouts, sources, rng, image_size=image_size)


def bounds(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


# The asset


def test_the_cutouts_stay_below_a_megabyte() -> None:
    assert scenes.ASSET.stat().st_size < 1_000_000


def test_the_cutouts_are_330_photos_of_each_of_six_classes() -> None:
    cutouts = scenes.load_cutouts()
    assert cutouts.names == ("trouser", "tshirt", "bag", "sneaker", "dress", "sandal")
    assert cutouts.images.shape == (6, 330, 28, 28)
    assert len({image.tobytes() for image in cutouts.images.reshape(-1, 784)}) == 1980


def test_the_licence_is_next_to_the_cutouts_and_in_the_data_set(tmp_path: Path) -> None:
    licence = scenes.ASSET.with_name("LICENSE-fashion-mnist.txt").read_text()
    assert "Copyright (c) 2017 Zalando SE, https://tech.zalando.com" in licence
    yaml = sample.compose(tmp_path / "data", **SMALL)
    assert yaml.with_name("LICENSE.txt").read_text() == licence


# Scenes


def test_no_cutout_is_in_both_splits() -> None:
    splits = scenes.split_sources(scenes.load_cutouts(), seed=0)
    for train, val in zip(splits["train"], splits["val"], strict=True):
        assert not set(train) & set(val)
        assert len(train) == 264
        assert len(val) == 66


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_scene_uses_the_cutouts_of_its_split_only(split: str) -> None:
    allowed = scenes.split_sources(scenes.load_cutouts(), seed=0)[split]
    for index in range(20):
        drawn = scene(split, index)
        for source in (*drawn.clutter, *(box.source for box in drawn.boxes)):
            assert source.index in allowed[source.class_id]


def test_boxes_are_the_bounds_of_the_visible_pixels() -> None:
    for index in range(30):
        drawn = scene("train", index)
        for number, box in enumerate(drawn.boxes):
            assert bounds(drawn.owners == number) == (box.left, box.top, box.right, box.bottom)


def test_the_box_of_an_object_bounds_what_it_changes_in_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare the canvas before and after the object of each scene that has exactly one."""
    paste = scenes._paste
    pasted: list[npt.NDArray[np.bool_]] = []

    def watching(canvas: scenes.Canvas, sprite: scenes._Sprite, corner: tuple[int, int]) -> None:
        before = canvas.copy()
        paste(canvas, sprite, corner)
        pasted.append((canvas != before).any(axis=2))

    monkeypatch.setattr(scenes, "_paste", watching)
    seen = 0
    for index in range(60):
        pasted.clear()
        drawn = scene("train", index)
        if len(drawn.boxes) == 1:
            box, seen = drawn.boxes[0], seen + 1
            assert bounds(pasted[-1]) == (box.left, box.top, box.right, box.bottom)
    assert seen >= 5


def test_scenes_hold_at_most_six_objects_and_some_hold_none() -> None:
    counts = [len(scene("train", index).boxes) for index in range(120)]
    assert max(counts) == 6
    assert 2 <= counts.count(0) <= 24


def test_every_class_appears() -> None:
    classes = {box.source.class_id for index in range(30) for box in scene("val", index).boxes}
    assert classes == set(range(6))


@pytest.mark.parametrize("image_size", [64, 128, 320])
def test_objects_grow_with_the_image_and_stay_inside(image_size: int) -> None:
    longest = []
    for index in range(25):
        drawn = scene("train", index, image_size=image_size)
        assert drawn.pixels.shape == (image_size, image_size, 3)
        for box in drawn.boxes:
            assert 0 <= box.left < box.right <= image_size
            assert 0 <= box.top < box.bottom <= image_size
            longest.append(max(box.right - box.left, box.bottom - box.top) * 128 / image_size)
    # Resizing and rotating a mask adds or removes a pixel or two at its edges, and other objects hide a part.
    assert 20 * scenes.MIN_VISIBLE - 4 <= min(longest) < 32
    assert 52 < max(longest) <= 64 + 4


def test_most_of_every_object_is_visible() -> None:
    for index in range(30):
        drawn = scene("train", index)
        for number, box in enumerate(drawn.boxes):
            # Even the thinnest sandal fills a twentieth of its box.
            area = (box.right - box.left) * (box.bottom - box.top)
            assert np.count_nonzero(drawn.owners == number) >= area * 0.05


def test_a_sprite_hides_no_more_than_allowed() -> None:
    owners = np.full((8, 8), -1, dtype=np.int8)
    owners[2:6, 2:6] = 0
    whole = np.ones((8, 8), dtype=np.float32)
    rng = np.random.default_rng(0)
    assert scenes._free_corner(owners, [16], whole, rng) is None
    assert scenes._free_corner(owners, [16], whole[:1, :1], rng) is not None


# The data set


def test_the_layout_is_the_usual_one(tmp_path: Path) -> None:
    yaml = sample.compose(tmp_path / "data", **SMALL)
    assert yaml == tmp_path / "data" / "dataset.yaml"
    dataset = resolve(yaml)
    assert dataset.names == scenes.load_cutouts().names
    assert {name: split.num_images for name, split in dataset.splits.items()} == {"train": 12, "val": 6}
    labels = {name: [label_path(p.path) for p in split.images] for name, split in dataset.splits.items()}
    assert {name: sum(map(Path.is_file, files)) for name, files in labels.items()} == {"train": 12, "val": 6}
    with Image.open(tmp_path / "data/images/val/000000.jpg") as image:
        assert (image.size, image.mode, image.format) == ((96, 96), "RGB", "JPEG")


def test_label_rows_are_the_boxes_of_the_scene(tmp_path: Path) -> None:
    sample.compose(tmp_path / "data", **SMALL)
    for index in range(12):
        rows = (tmp_path / f"data/labels/train/{index:06}.txt").read_text().splitlines()
        boxes = scene("train", index, image_size=96, seed=3).boxes
        assert len(rows) == len(boxes)
        for row, box in zip(rows, boxes, strict=True):
            class_id, x, y, width, height = row.split()
            left, right = (float(x) - float(width) / 2) * 96, (float(x) + float(width) / 2) * 96
            top, bottom = (float(y) - float(height) / 2) * 96, (float(y) + float(height) / 2) * 96
            assert int(class_id) == box.source.class_id
            assert (left, top, right, bottom) == pytest.approx((box.left, box.top, box.right, box.bottom), abs=1e-5)


def test_the_images_show_the_scenes(tmp_path: Path) -> None:
    sample.compose(tmp_path / "data", **SMALL)
    with Image.open(tmp_path / "data/images/train/000004.jpg") as image:
        stored = np.asarray(image, dtype=np.float64)
    drawn = scene("train", 4, image_size=96, seed=3).pixels
    assert np.abs(stored - drawn).mean() < 8  # JPEG


def test_same_settings_give_the_same_bytes(tmp_path: Path) -> None:
    sample.compose(tmp_path / "a", **SMALL)
    sample.compose(tmp_path / "b", **SMALL)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_another_seed_gives_other_images(tmp_path: Path) -> None:
    sample.compose(tmp_path / "a", **SMALL)
    sample.compose(tmp_path / "b", **(SMALL | {"seed": 4}))
    a, b = tree(tmp_path / "a"), tree(tmp_path / "b")
    assert not {a[name] for name in a if name.endswith(".jpg")} & set(b.values())


def test_a_scene_is_the_same_however_many_there_are(tmp_path: Path) -> None:
    sample.compose(tmp_path / "a", **SMALL)
    sample.compose(tmp_path / "b", **(SMALL | {"train_images": 14}))
    a, b = tree(tmp_path / "a"), tree(tmp_path / "b")
    assert {name: a[name] for name in a if name.endswith((".jpg", ".txt"))}.items() <= b.items()


def test_a_complete_data_set_is_reused_untouched(tmp_path: Path) -> None:
    yaml = sample.compose(tmp_path / "data", **SMALL)
    image = tmp_path / "data/images/train/000000.jpg"
    before = image.stat().st_mtime_ns
    assert sample.compose(tmp_path / "data", **SMALL) == yaml
    assert image.stat().st_mtime_ns == before


def test_caches_that_training_leaves_do_not_matter(tmp_path: Path) -> None:
    yaml = sample.compose(tmp_path / "data", **SMALL)
    (tmp_path / "data/labels/train.cache").write_bytes(b"")
    (tmp_path / "data/images/train/000000.npy").write_bytes(b"")
    assert sample.compose(tmp_path / "data", **SMALL) == yaml


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert sample.compose(tmp_path / "data", **SMALL).is_file()


def test_nothing_but_the_data_set_is_left_behind(tmp_path: Path) -> None:
    sample.compose(tmp_path / "deep/er/data", **SMALL)
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["data"]


def test_an_interrupted_composition_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sample, "draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sample.compose(tmp_path / "data", **SMALL)
    assert not list(tmp_path.iterdir())


def refusal(directory: Path, **settings: int) -> str:
    with pytest.raises(DataError) as caught:
        sample.compose(directory, **(SMALL | settings))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_another_sample_is_not_overwritten(tmp_path: Path) -> None:
    sample.compose(tmp_path / "data", **SMALL)
    before = tree(tmp_path / "data")
    assert "image_size 96 instead of 128" in refusal(tmp_path / "data", image_size=128)
    assert tree(tmp_path / "data") == before


def test_a_folder_of_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    assert "has other files" in refusal(tmp_path)
    assert tree(tmp_path).keys() == {"thesis.txt"}


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert "has other files" in refusal(tmp_path / "data")


def test_a_sample_with_lost_or_added_files_is_refused(tmp_path: Path) -> None:
    sample.compose(tmp_path / "data", **SMALL)
    extra = tmp_path / "data/images/val/mine.png"
    extra.write_bytes(b"")
    assert "unexpected files, for example 'mine.png'" in refusal(tmp_path / "data")
    extra.unlink()
    (tmp_path / "data/labels/train/000003.txt").unlink()
    assert "lacks 1 of 12 files, for example '000003.txt'" in refusal(tmp_path / "data")


def test_a_folder_that_cannot_be_made_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "must be writable" in refusal(tmp_path / "file" / "data")


@pytest.mark.parametrize(("name", "value"), [("train_images", 0), ("val_images", 0), ("image_size", 63), ("seed", -1)])
def test_settings_out_of_range_are_refused(tmp_path: Path, name: str, value: int) -> None:
    assert f"{name} of the sample data set must be at least" in refusal(tmp_path / "data", **{name: value})
    assert not (tmp_path / "data").exists()


def test_two_processes_that_compose_at_once_agree(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from trainer.data.sample.sample import compose; sys.stdin.readline();"
        "print(compose(Path(sys.argv[1]), train_images=40, val_images=10, image_size=96, seed=3))"
    )
    root = Path(sample.__file__).parents[3]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "data")],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs == [str(tmp_path / "data/dataset.yaml")] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert resolve(Path(outputs[0])).splits["train"].num_images == 40


def test_the_loser_of_a_race_returns_the_winners_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, rivals = scenes.draw_scene, [tmp_path / "data"]

    def draw_after_a_rival(*arguments: object, **named: object) -> scenes.Scene:
        if rivals:
            sample.compose(rivals.pop(), **SMALL)
        return draw(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(sample, "draw_scene", draw_after_a_rival)
    assert sample.compose(tmp_path / "data", **SMALL).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("value", "base"), [("/var/cache/me", "/var/cache/me"), ("", "~/.cache"), ("relative", "~/.cache")]
)
def test_the_default_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, value: str, base: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    expected = Path(base).expanduser() / "mamba-yolo-tuner" / f"sample-data-v{sample.FORMAT}"
    assert sample.default_directory() == expected


def test_composing_needs_neither_torch_nor_ultralytics() -> None:
    script = (
        "import sys, trainer.data.sample.sample, trainer.data.dataset;"
        "sys.exit(bool({'torch', 'ultralytics', 'ray', 'optuna', 'tuner', 'cv2'} & set(sys.modules)))"
    )
    root = Path(sample.__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, timeout=60, check=False).returncode == 0
