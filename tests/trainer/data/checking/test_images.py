"""Picture files: each flaw is found, and a picture is usable where ultralytics takes it."""

import io

import numpy as np
import pytest
from PIL import Image

from trainer.data.checking import images
from trainer.data.checking.images import PictureFacts, PictureFlaw
from trainer.ultralytics_bridge import environment

environment.configure()

from ultralytics.data.utils import verify_image_label  # noqa: E402 - only after the environment is set
from ultralytics.utils.patches import imread  # noqa: E402

from trainer.ultralytics_bridge import dataset_scan  # noqa: E402, F401 - switches off that pictures are rewritten

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def examine(content: bytes) -> PictureFacts:
    return images.examine(content, ".jpg")


def saved(kind="JPEG", pixels=PIXELS, mode="RGB", orientation=None, **options):
    """The bytes of a picture file."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(file, kind, exif=exif, **options)
    return file.getvalue()


def changed(content, at, byte):
    return content[:at] + bytes([byte]) + content[at + 1 :]


def cut(content):
    return content[: len(content) // 2]


JPEG, PNG = saved(), saved("PNG")
PICTURES = {
    "JPEG": (JPEG, []),
    "PNG": (PNG, []),
    "WebP": (saved("WEBP"), []),
    "BMP": (saved("BMP"), []),
    "TIFF": (saved("TIFF"), []),
    "no bytes": (b"", [PictureFlaw.UNREADABLE]),
    "text": (b"<html>404</html>", [PictureFlaw.UNREADABLE]),
    "half a header": (JPEG[:100], [PictureFlaw.UNREADABLE]),
    "half a JPEG": (JPEG[: len(JPEG) // 2], [PictureFlaw.TRUNCATED]),
    "half a PNG": (PNG[: len(PNG) // 2], [PictureFlaw.UNREADABLE]),
    "a PNG with a changed byte": (changed(PNG, len(PNG) // 2, PNG[len(PNG) // 2] ^ 1), [PictureFlaw.UNREADABLE]),
    "bytes after the end": (JPEG + b"\0" * 7, [PictureFlaw.TRAILING_BYTES]),
    "without an end mark": (JPEG[:-2], [PictureFlaw.TRUNCATED]),
    "9 pixels high": (saved(pixels=PIXELS[:9]), [PictureFlaw.TOO_SMALL]),
    "10 pixels high": (saved(pixels=PIXELS[:10]), []),
    "a GIF": (saved("GIF", mode="P"), [PictureFlaw.FORMAT]),
    "on its side": (saved(orientation=6), [PictureFlaw.ROTATED]),
    "a PNG on its side": (saved("PNG", orientation=8), [PictureFlaw.ROTATED]),
    "upside down": (saved(orientation=3), [PictureFlaw.ROTATED]),
    "the right way up": (saved(orientation=1), []),
    "no such orientation": (saved(orientation=9), [PictureFlaw.BAD_ORIENTATION]),
    "a grey JPEG": (saved(mode="L"), [PictureFlaw.GREY]),
    "a grey PNG with transparency": (saved("PNG", mode="LA"), [PictureFlaw.GREY]),
    "half a BMP": (cut(saved("BMP")), [PictureFlaw.TRUNCATED]),
    "half a TIFF": (cut(saved("TIFF")), [PictureFlaw.TRUNCATED]),
    "half a JPEG 2000": (cut(saved("JPEG2000")), [PictureFlaw.TRUNCATED]),
    "half a WebP": (cut(saved("WEBP")), [PictureFlaw.UNREADABLE]),
    "half an AVIF": (cut(saved("AVIF")), [PictureFlaw.UNREADABLE]),
    "a JPEG with CMYK colours": (saved(mode="CMYK"), []),
    "a PNG with a palette": (saved("PNG", mode="P"), []),
    "a PNG of 16 bits": (
        saved("PNG", (PIXELS[..., 0].astype(np.uint16) * 256), mode=None),
        [PictureFlaw.GREY, PictureFlaw.DEEP],
    ),
    "a TIFF of 32-bit numbers": (
        saved("TIFF", PIXELS[..., 0].astype(np.float32), mode=None),
        [PictureFlaw.GREY, PictureFlaw.UNDECODABLE],
    ),
    "a TIFF of 32-bit whole numbers": (
        saved("TIFF", PIXELS[..., 0].astype(np.int32), mode=None),
        [PictureFlaw.GREY, PictureFlaw.UNDECODABLE],
    ),
    "a TIFF packed with zstd": (saved("TIFF", compression="zstd"), [PictureFlaw.UNDECODABLE]),
    "a TIFF packed with LZMA": (saved("TIFF", compression="lzma"), [PictureFlaw.UNDECODABLE]),
    "a TIFF packed with LZW": (saved("TIFF", compression="tiff_lzw"), []),
}


@pytest.mark.parametrize("case", PICTURES)
def test_the_flaws_of_a_picture_are_found(case):
    content, expected = PICTURES[case]
    assert [found.flaw for found in examine(content).flaws] == expected


def is_usable(facts):
    return not any(found.flaw.loses_picture for found in facts.flaws)


@pytest.mark.parametrize("case", PICTURES)
def test_a_picture_is_usable_and_as_large_as_ultralytics_says_and_its_file_stays_as_it_was(case, tmp_path):
    content, _ = PICTURES[case]
    path = tmp_path / "picture.jpg"  # what is in it counts, not the suffix
    path.write_bytes(content)
    found = verify_image_label((str(path), str(tmp_path / "none.txt"), "", False, 1, 0, 0, False))
    facts = examine(content)
    # ultralytics' check decodes nothing, its training does.
    assert is_usable(facts) == (found[0] is not None and imread(path) is not None), found[-1]
    if is_usable(facts):
        assert (facts.height, facts.width) == found[2]
    assert path.read_bytes() == content


def test_the_value_found_is_told():
    (found,) = examine(JPEG + b"\0" * 7).flaws
    assert found.value == "7 bytes"
    (found,) = examine(saved(pixels=PIXELS[:9])).flaws
    assert found.value == "60 x 9 pixels"


@pytest.mark.parametrize("seed", range(3))
def test_damage_anywhere_is_found_by_the_rules_of_ultralytics_and_raises_nothing(seed, tmp_path):
    numbers = np.random.default_rng(seed)
    path = tmp_path / "picture.jpg"
    for _ in range(40):
        whole = [JPEG, PNG, saved(orientation=6)][numbers.integers(3)]
        content = changed(whole, int(numbers.integers(len(whole))), int(numbers.integers(256)))
        content = content[: len(content) - int(numbers.integers(2)) * int(numbers.integers(len(content)))]
        path.write_bytes(content)
        found = verify_image_label((str(path), str(tmp_path / "none.txt"), "", False, 1, 0, 0, False))
        assert is_usable(examine(content)) == (found[0] is not None and imread(path) is not None), found[-1]
