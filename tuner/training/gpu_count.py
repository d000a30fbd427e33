"""Choose the number of GPUs of one run by its batch.

Each GPU gets an equal part of the batch; ultralytics would round an uneven one down. Batch normalization computes its
statistics from the part on one GPU, so too small a part trains another model than the trials of a search did.
"""

from collections.abc import Sequence

LEAST_IMAGES = 8
"""Images of a batch that each of several GPUs should get at least."""


def gpus_for(batches: Sequence[int], gpus: int) -> int:
    """Return the largest number of GPUs that divides each batch into parts of at least 8 images.

    Args:
        batches: Batch of each stage of the run.
        gpus: Number of GPUs that are available; 0 for the CPU.

    Returns:
        A number from 1 to `gpus`; 0 for the CPU.
    """
    for number in range(gpus, 1, -1):
        if all(batch % number == 0 and batch // number >= LEAST_IMAGES for batch in batches):
            return number
    return min(gpus, 1)


def fewer_gpus_note(batches: Sequence[int], used: int, available: int) -> str:
    """Explain in one line why a run uses fewer GPUs than there are."""
    return (
        f"the run uses {used} of {available} GPUs: with more, {_named(batches)} would not divide evenly into parts of "
        f"at least {LEAST_IMAGES} images"
    )


def small_parts_note(batches: Sequence[int], gpus: int) -> str:
    """Return a note if a GPU gets few images of a batch; "" if not."""
    least = min(batches) // max(gpus, 1)
    if gpus <= 1 or least >= LEAST_IMAGES:
        return ""
    return (
        f"each of {gpus} GPUs gets {least} image{'s' if least > 1 else ''} of a batch, few for batch normalization; "
        f"--gpus {gpus_for(batches, gpus)} or a larger batch avoids this"
    )


def _named(batches: Sequence[int]) -> str:
    """Name one batch, or several as a list."""
    found = sorted(set(batches))
    return f"a batch of {found[0]}" if len(found) == 1 else f"each batch ({', '.join(map(str, found))})"
