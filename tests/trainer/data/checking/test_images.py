"""Image files: each flaw is found, and an image is usable if ultralytics accepts it."""

import io

import numpy as np
import pytest
from PIL import Image

from trainer.data.checking import images
from trainer.data.checking.images import ImageFacts, ImageFlaw
from trainer.ultralytics_bridge import environment

environment.configure()

from ultralytics.data.utils import verify_image_label  # noqa: E402 - only after the environment is set
from ultralytics.utils.patches import imread  # noqa: E402

from trainer.ultralytics_bridge import dataset_scan  # noqa: E402, F401 - switches off that images are rewritten

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def examine(content: bytes) -> ImageFacts:
    return images.examine(content, ".jpg")


def saved(kind="JPEG", pixels=PIXELS, mode="RGB", orientation=None, **options):
    """Return the bytes of an image file."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, kind, exif=exif, **options)
    return file.getvalue()


def changed(content, at, byte):
    return content[:at] + bytes([byte]) + content[at + 1 :]


def cut(content):
    return content[: len(content) // 2]


JPEG, PNG = saved(), saved("PNG")
IMAGES = {
    "JPEG": (JPEG, []),
    "PNG": (PNG, []),
    "WebP": (saved("WEBP"), []),
    "BMP": (saved("BMP"), []),
    "TIFF": (saved("TIFF"), []),
    "no bytes": (b"", [ImageFlaw.UNREADABLE]),
    "text": (b"<html>404</html>", [ImageFlaw.UNREADABLE]),
    "half a header": (JPEG[:100], [ImageFlaw.UNREADABLE]),
    "half a JPEG": (JPEG[: len(JPEG) // 2], [ImageFlaw.TRUNCATED]),
    "half a PNG": (PNG[: len(PNG) // 2], [ImageFlaw.UNREADABLE]),
    "a PNG with a changed byte": (changed(PNG, len(PNG) // 2, PNG[len(PNG) // 2] ^ 1), [ImageFlaw.UNREADABLE]),
    "bytes after the end": (JPEG + b"\0" * 7, [ImageFlaw.TRAILING_BYTES]),
    "without an end mark": (JPEG[:-2], [ImageFlaw.TRUNCATED]),
    "9 pixels high": (saved(pixels=PIXELS[:9]), [ImageFlaw.TOO_SMALL]),
    "10 pixels high": (saved(pixels=PIXELS[:10]), []),
    "a GIF": (saved("GIF", mode="P"), [ImageFlaw.FORMAT]),
    "on its side": (saved(orientation=6), [ImageFlaw.ROTATED]),
    "a PNG on its side": (saved("PNG", orientation=8), [ImageFlaw.ROTATED]),
    "upside down": (saved(orientation=3), [ImageFlaw.ROTATED]),
    "the right way up": (saved(orientation=1), []),
    "no such orientation": (saved(orientation=9), [ImageFlaw.BAD_ORIENTATION]),
    "a grey JPEG": (saved(mode="L"), [ImageFlaw.GREY]),
    "a grey PNG with transparency": (saved("PNG", mode="LA"), [ImageFlaw.GREY]),
    "half a BMP": (cut(saved("BMP")), [ImageFlaw.TRUNCATED]),
    "half a TIFF": (cut(saved("TIFF")), [ImageFlaw.TRUNCATED]),
    "half a JPEG 2000": (cut(saved("JPEG2000")), [ImageFlaw.TRUNCATED]),
    "half a WebP": (cut(saved("WEBP")), [ImageFlaw.UNREADABLE]),
    "half an AVIF": (cut(saved("AVIF")), [ImageFlaw.UNREADABLE]),
    "a JPEG with CMYK colours": (saved(mode="CMYK"), []),
    "a PNG with a palette": (saved("PNG", mode="P"), []),
    "a PNG of 16 bits": (
        saved("PNG", (PIXELS[..., 0].astype(np.uint16) * 256), mode=None),
        [ImageFlaw.GREY, ImageFlaw.DEEP],
    ),
    "a TIFF of 32-bit numbers": (
        saved("TIFF", PIXELS[..., 0].astype(np.float32), mode=None),
        [ImageFlaw.GREY, ImageFlaw.UNDECODABLE],
    ),
    "a TIFF of 32-bit whole numbers": (
        saved("TIFF", PIXELS[..., 0].astype(np.int32), mode=None),
        [ImageFlaw.GREY, ImageFlaw.UNDECODABLE],
    ),
    "a TIFF packed with zstd": (saved("TIFF", compression="zstd"), [ImageFlaw.UNDECODABLE]),
    "a TIFF packed with LZMA": (saved("TIFF", compression="lzma"), [ImageFlaw.UNDECODABLE]),
    "a TIFF packed with LZW": (saved("TIFF", compression="tiff_lzw"), []),
}


@pytest.mark.parametrize("case", IMAGES)
def test_the_flaws_of_an_image_are_found(case):
    content, expected = IMAGES[case]
    assert [found.flaw for found in examine(content).flaws] == expected


def is_usable(facts):
    return not any(found.flaw.loses_image for found in facts.flaws)


@pytest.mark.parametrize("case", IMAGES)
def test_an_image_is_usable_and_as_large_as_ultralytics_says_and_its_file_stays_as_it_was(case, tmp_path):
    content, _ = IMAGES[case]
    path = tmp_path / "image.jpg"  # the content counts, not the suffix
    path.write_bytes(content)
    found = verify_image_label((str(path), str(tmp_path / "none.txt"), "", False, 1, 0, 0, False))
    facts = examine(content)
    # ultralytics' check decodes nothing, but its training does.
    assert is_usable(facts) == (found[0] is not None and imread(path) is not None), found[-1]
    if is_usable(facts):
        assert (facts.height, facts.width) == found[2]
    assert path.read_bytes() == content


def test_the_value_found_is_reported():
    (found,) = examine(JPEG + b"\0" * 7).flaws
    assert found.value == "7 bytes"
    (found,) = examine(saved(pixels=PIXELS[:9])).flaws
    assert found.value == "60 x 9 pixels"


@pytest.mark.parametrize("seed", range(3))
def test_damage_anywhere_is_found_by_the_rules_of_ultralytics_and_raises_nothing(seed, tmp_path):
    numbers = np.random.default_rng(seed)
    path = tmp_path / "image.jpg"
    for _ in range(40):
        whole = [JPEG, PNG, saved(orientation=6)][numbers.integers(3)]
        content = changed(whole, int(numbers.integers(len(whole))), int(numbers.integers(256)))
        content = content[: len(content) - int(numbers.integers(2)) * int(numbers.integers(len(content)))]
        path.write_bytes(content)
        found = verify_image_label((str(path), str(tmp_path / "none.txt"), "", False, 1, 0, 0, False))
        assert is_usable(examine(content)) == (found[0] is not None and imread(path) is not None), found[-1]
