"""Make fashion-mnist-cutouts.npz from the public Fashion-MNIST training files.

Usage:

    python make_cutouts.py train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz fashion-mnist-cutouts.npz

The two input files come from https://github.com/zalandoresearch/fashion-mnist (folder data/fashion), or
from Debian's package dataset-fashion-mnist. The choice is fixed: the first 330 training images of each of six
classes, in the order of the file. The archive has no timestamps and a fixed compression level, so the same
input gives the same bytes with every Python that is built with the classic zlib.

The archive contains two arrays: `images` (1980, 28, 28) uint8, grey on black, class after class, and `names`
(6,) text; image i belongs to class i // 330.
"""

import gzip
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

CLASSES = {"trouser": 1, "tshirt": 0, "bag": 8, "sneaker": 7, "dress": 3, "sandal": 5}
"""Class names in the order of their ids, with the label of each class in Fashion-MNIST."""
PER_CLASS = 330

# SHA-256 of the unpacked IDX files: another edition would silently give other cut-outs.
IMAGES_SHA256 = "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
LABELS_SHA256 = "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"


def main(images: Path, labels: Path, target: Path) -> None:
    """Write the archive.

    Raises:
        SystemExit: an input file is not the one that the cut-outs come from.
    """
    pixels = _idx(images, IMAGES_SHA256, header=16).reshape(-1, 28, 28)
    classes = _idx(labels, LABELS_SHA256, header=8)
    chosen = [np.flatnonzero(classes == label)[:PER_CLASS] for label in CLASSES.values()]
    arrays = {"images": pixels[np.concatenate(chosen)], "names": np.array(list(CLASSES))}
    with zipfile.ZipFile(target, "w") as archive:
        for name, array in arrays.items():
            # A ZipInfo without a date gets a fixed one, in 1980.
            entry = zipfile.ZipInfo(f"{name}.npy")
            archive.writestr(entry, _npy(array), zipfile.ZIP_DEFLATED, compresslevel=9)


def _idx(path: Path, sha256: str, *, header: int) -> npt.NDArray[np.uint8]:
    content = gzip.decompress(path.read_bytes())
    if hashlib.sha256(content).hexdigest() != sha256:
        raise SystemExit(
            f"{path} must be the Fashion-MNIST training file that the cut-outs come from, but its SHA-256 differs; "
            "download it again."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header)


def _npy(array: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    main(*(Path(argument) for argument in sys.argv[1:]))
