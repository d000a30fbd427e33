"""Configurations of the Triton kernels, and the file with those that were measured.

The file holds one table per kind of GPU: device name, compute capability and version of Triton. The same file gives the
same configurations, and so the same bits, in every process.
"""

import importlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch

from trainer.system import atomic_files
from trainer.system.cache import cache_folder

CONFIGURATION_VARIABLE = "MAMBA_YOLO_SCAN_CONFIG"
"""Environment variable with the path of the file."""

CHUNK_LENGTH = 32
"""Tokens between two saved states. With 16 states, the saved states take half the memory of a float32 `delta`."""

WARP_SIZE = 32
_MAX_BLOCK_CHANNELS, _MAX_WARPS_PER_PROCESSOR = 1024, 64
_FORMAT = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Configuration:
    """Partition of the work into programs of one warp each."""

    block_length: int
    """Tokens held in registers at a time; divides `CHUNK_LENGTH`. A warp has a lane for two sums of each token."""
    block_channels: int
    """Channels per program; at least the 32 lanes of a warp."""
    warps_per_processor: int
    """Target number of programs per multiprocessor. Paths are cut into spans until it is reached."""


@dataclass(frozen=True)
class Problem:
    """Scans that share a configuration."""

    direction: str
    """`forward` or `backward`."""
    u_type: str
    delta_type: str
    """Floating-point types, such as `float32`."""
    sequences_bits: int
    """Bit length of batch times groups."""
    length_bits: int
    """Bit length of the number of tokens."""
    channels: int


Table = Mapping[Problem, Configuration]
"""The fastest configuration of each kind of problem on one kind of GPU."""


@dataclass(frozen=True)
class Gpu:
    """Kind of GPU and compiler that a table was measured with."""

    name: str
    capability: str
    triton: str


def gpu_of(device: torch.device) -> Gpu:
    """Return the kind of a CUDA device."""
    version: str = importlib.import_module("triton").__version__
    major, minor = torch.cuda.get_device_capability(device)
    return Gpu(torch.cuda.get_device_name(device), f"{major}.{minor}", version)


def configuration_file() -> Path:
    """Return the path of the file: MAMBA_YOLO_SCAN_CONFIG, or a file in the user's cache folder."""
    named = os.environ.get(CONFIGURATION_VARIABLE)
    return Path(named) if named else cache_folder() / "scan-configurations.json"


@cache
def load(path: Path, gpu: Gpu) -> Table:
    """Read the table for a kind of GPU; empty if the file has none. A damaged file is logged once and ignored."""
    try:
        return _tables(path).get(gpu, {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        logger.warning("The configurations of the selective scan in %s are ignored: %s.", path, reason)
        return {}


def save(path: Path, gpu: Gpu, table: Table) -> None:
    """Write the table for a kind of GPU in the place of its earlier one; those of other GPUs stay.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_files.held(path.with_name(f"{path.name}.lock")):
        try:
            tables = _tables(path)
        except (OSError, ValueError, TypeError, KeyError):
            tables = {}
        tables[gpu] = table
        atomic_files.write_whole(path, _encoded(tables))
    load.cache_clear()


def keep(path: Path, *, resumes: bool) -> None:
    """Use the file `path` in the folder of a run from now on, also in child processes.

    A run that begins copies the current file there, or an empty one. A run that resumes reads what it copied. If it has
    no such file, it began without one.

    Raises:
        OSError: The file cannot be written.
    """
    if not resumes or not path.exists():
        content = b""
        if not resumes:
            try:
                content = configuration_file().read_bytes()
            except OSError:
                content = b""
        atomic_files.write_whole(path, content or _encoded({}))
        load.cache_clear()
    os.environ[CONFIGURATION_VARIABLE] = str(path)


def _encoded(tables: Mapping[Gpu, Table]) -> bytes:
    content = {
        "format": _FORMAT,
        "gpus": [
            {**asdict(gpu), "configurations": [{**asdict(problem), **asdict(config)} for problem, config in t.items()]}
            for gpu, t in tables.items()
        ],
    }
    return (json.dumps(content, indent=1) + "\n").encode()


def _tables(path: Path) -> dict[Gpu, Table]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["format"] != _FORMAT:
        raise ValueError(f"its format is {content['format']}, not {_FORMAT}")
    return {
        Gpu(str(entry["name"]), str(entry["capability"]), str(entry["triton"])): dict(
            _row(row) for row in entry["configurations"]
        )
        for entry in content["gpus"]
    }


def _row(row: Mapping[str, object]) -> tuple[Problem, Configuration]:
    problem = Problem(
        direction=_text(row["direction"]),
        u_type=_text(row["u_type"]),
        delta_type=_text(row["delta_type"]),
        sequences_bits=_whole(row["sequences_bits"]),
        length_bits=_whole(row["length_bits"]),
        channels=_whole(row["channels"]),
    )
    config = Configuration(
        block_length=_whole(row["block_length"]),
        block_channels=_whole(row["block_channels"]),
        warps_per_processor=_whole(row["warps_per_processor"]),
    )
    is_possible = (
        0 < config.block_length <= WARP_SIZE // 2
        and CHUNK_LENGTH % config.block_length == 0
        and WARP_SIZE <= config.block_channels <= _MAX_BLOCK_CHANNELS
        and config.block_channels & (config.block_channels - 1) == 0
        and 0 < config.warps_per_processor <= _MAX_WARPS_PER_PROCESSOR
    )
    if not is_possible:
        raise ValueError(f"{config} is not possible")
    return problem, config


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, but got {value!r}")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected a whole number, but got {value!r}")
    return value
