"""Tell how many devices a run may use now: those it started with, a growing cluster's, or those that a queue grants."""

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import ray

from tuner.system.grant_folder import VARIABLE, read_granted, write_wanted

_REFRESH_S = 1.0
"""Seconds for which an answer holds. A driver asks several times for each record."""


def available_gpus() -> int:
    """Return the number of GPUs of the cluster."""
    return int(ray.cluster_resources().get("GPU", 0))


class Allotment(Protocol):
    """Number of devices that a run may use: GPUs, or CPU slots if it trains on the CPU. It can change at any time."""

    def devices(self) -> int:
        """Return the number of devices that the run may use now; 0 to wait."""

    def want(self, devices: int | None) -> None:
        """Report how many devices the run could use now, None for all, so that others may have the rest."""


class FixedAllotment:
    """Devices that a run keeps until its end."""

    def __init__(self, devices: int) -> None:
        self._devices = devices

    def devices(self) -> int:
        """Return the number that the run started with."""
        return self._devices

    def want(self, devices: int | None) -> None:
        """Do nothing: nobody else waits for them."""


class ClusterAllotment:
    """All GPUs of a Ray cluster, whose machines may come and go."""

    def __init__(
        self, devices: int, count: Callable[[], int] = available_gpus, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._devices = devices
        self._count = count
        self._clock = clock
        self._asked_s = clock()

    def devices(self) -> int:
        """Return the number of GPUs that the cluster has now."""
        if self._clock() >= self._asked_s + _REFRESH_S:
            self._asked_s = self._clock()
            with contextlib.suppress(Exception):  # while Ray does not answer, its health check decides
                self._devices = self._count()
        return self._devices

    def want(self, devices: int | None) -> None:
        """Do nothing: Ray gives what is free to whoever asks."""


class GrantedAllotment:
    """Devices that a queue grants in a folder (see `tuner.system.grant_folder`). Until it grants any, the run waits."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._read_s = -_REFRESH_S
        self._granted = 0
        self._wanted: int | None = -1

    def devices(self) -> int:
        """Return the number that was granted last."""
        if self._clock() >= self._read_s + _REFRESH_S:
            self._read_s = self._clock()
            self._granted = read_granted(self._folder, self._granted)
        return self._granted

    def want(self, devices: int | None) -> None:
        """Write the number, if it has changed."""
        if devices != self._wanted:
            self._wanted = devices
            write_wanted(self._folder, devices)


def allotment(environment: Mapping[str, str], *, devices: int, follows_cluster: bool) -> Allotment:
    """Return the allotment of a run.

    Args:
        environment: Environment of this process.
        devices: Number of devices at the start.
        follows_cluster: Use all GPUs of a cluster, also those that join it later.
    """
    folder = environment.get(VARIABLE)
    if folder:
        return GrantedAllotment(Path(folder))
    return ClusterAllotment(devices) if follows_cluster else FixedAllotment(devices)
