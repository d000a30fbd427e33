"""Define the checks of a device on the trainer's machine: selective scan, whole models, memory and data loading."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from tuner.contract.messages import ParamValue


class DeviceCheck(StrEnum):
    """Check of a device, in the order in which `tune doctor --gpu` makes them."""

    SCAN_TUNING = "scan-tuning"
    SCAN_ACCURACY = "scan-accuracy"
    SCAN_SPEED = "scan-speed"
    MODEL_SPEED = "model-speed"
    DETERMINISM = "determinism"
    MEMORY = "memory"
    SHARING = "sharing"
    LOADING = "loading"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceCheckRequest:
    """Check a device."""

    type: ClassVar[str] = "check_device"
    check: str
    """Name of a `DeviceCheck`."""
    device: str
    """Device by torch's name: "cpu", "cuda:0"."""
    small: bool
    """Measure small cases only, so that the check takes seconds on a CPU."""
    threads: int
    """CPU threads, at least 1."""
    directory: str
    """Absolute path of an existing folder for the log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Measured values."""

    title: str
    rows: tuple[Mapping[str, ParamValue], ...]
    """Values by column; a name ends in its unit, such as `step_ms`. A row without a column has no value there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceCheckRecord:
    """Report the result of a check."""

    type: ClassVar[str] = "device_checked"
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    """Parts that were not measured, with the reasons, and other notes for the user, one line each."""
    problems: tuple[str, ...] = ()
    """Results that are wrong, one line each."""
