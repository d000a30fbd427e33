"""Read images that ultralytics drew, scaled down for a page that carries them in itself."""

import io
from pathlib import Path

from tuner.report.page.content import Image

_MOST_PIXELS = 100_000_000
"""Largest image that is decoded; those of a run have below 10 million pixels."""

_JPEG_QUALITY = 82


def small_image(file: Path, width: int, alt: str, caption: str = "") -> Image | None:
    """Return the image in a file, at most this wide; None if there is none that can be read.

    Args:
        file: PNG or JPEG file.
        width: Largest width in pixels.
        alt: What it shows, for readers who cannot see it.
        caption: Text below it.
    """
    from PIL import Image as Pillow

    if not file.is_file():
        return None
    try:
        with Pillow.open(file, formats=("PNG", "JPEG")) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                return None
            image = opened.convert("RGB")
    except Exception:  # decoders and plugins of Pillow raise anything for broken files
        return None
    image.thumbnail((width, width), Pillow.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if file.suffix == ".png":  # diagrams: few colours, sharp edges
        image.quantize(64).save(buffer, "PNG", optimize=True)
        return Image(content=buffer.getvalue(), media_type="image/png", alt=alt, caption=caption)
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return Image(content=buffer.getvalue(), media_type="image/jpeg", alt=alt, caption=caption)
