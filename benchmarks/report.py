"""Tables for the screen, JSON for further processing, and the options that both scripts share."""

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = ("torch", "triton", "ultralytics", "mambapy")


def add_options(parser: argparse.ArgumentParser, repeats: int) -> None:
    """Add the options of every benchmark."""
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cpu (default), cuda, ...")
    parser.add_argument("--threads", type=int, nargs="+", help="numbers of CPU threads to measure with")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"timed rounds (default {repeats})")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the values there as well")


def environment(device: torch.device) -> dict[str, object]:
    """Return the conditions that affect the results, besides the code."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def say(text: str) -> None:
    """Print a paragraph."""
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


def say_environment(facts: Mapping[str, object]) -> None:
    say("\n".join(f"{name}: {value}" for name, value in facts.items()))


def say_skipped(reasons: Mapping[str, str]) -> None:
    if reasons:
        say("\n".join(f"Without {name}: {reason}" for name, reason in reasons.items()))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table with aligned columns; the first left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(cells, widths) for cells in (headers, rule, *rows))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [cells[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(cells[1:], widths[1:], strict=True))]
    return f"| {' | '.join(aligned)} |"


def times(slow: float | None, fast: float | None) -> str:
    """Format the speed-up of `fast` over `slow`; a dash if either was not measured."""
    return "-" if slow is None or fast is None else f"{slow / fast:.2f}x"


def write_json(path: Path | None, values: Mapping[str, object]) -> None:
    if path is not None:
        path.write_text(json.dumps(values, indent=1) + "\n")


def _processor() -> str:
    match = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
