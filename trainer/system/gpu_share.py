"""Limit the memory of a process to its share of a GPU."""

_CONTEXT_BYTES = 2**29
"""Memory of a process on a GPU that torch does not allocate: the CUDA context and loaded kernels. An assumption, half a
GiB; it has not been measured."""


def memory_fraction(share: float, total_bytes: int) -> float:
    """Return the fraction of a GPU's memory that torch may allocate, so that all who share it fit with their contexts.

    Args:
        share: Share of the GPU, above 0 and below 1.
        total_bytes: Memory of the GPU.
    """
    return max(share - _CONTEXT_BYTES / total_bytes, 0.0)


def limit_memory(share: float, device: int) -> None:
    """Limit what torch may allocate on a GPU that is shared; a process that has it alone is not limited."""
    if share < 1:
        import torch

        total_bytes = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(memory_fraction(share, total_bytes), device)
