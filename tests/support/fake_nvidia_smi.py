"""Imitate a machine with NVIDIA GPUs by an `nvidia-smi` that describes it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def install(folder: Path, gpus: Mapping[str, Sequence[str]], usage: str = "") -> Path:
    """Write a program `nvidia-smi`, and return its folder, to be put on the path.

    Args:
        folder: an existing folder.
        gpus: the UUIDs of the MIG devices of each GPU, by its own UUID.
        usage: answer to a query for the memory in use.
    """
    lines = []
    for index, (uuid, parts) in enumerate(gpus.items()):
        lines.append(f"GPU {index}: NVIDIA H100 80GB HBM3 (UUID: {uuid})")
        lines += [f"  MIG 1g.10gb     Device  {number}: (UUID: {part})" for number, part in enumerate(parts)]
    answers = {"-L": "\n".join(lines) or "No devices found.", "--query-gpu": usage}
    place = folder / "nvidia"
    place.mkdir()
    program = place / "nvidia-smi"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nprint({answers!r}[sys.argv[1].partition('=')[0]])\n", encoding="utf-8"
    )
    program.chmod(0o755)
    return place
