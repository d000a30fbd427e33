"""Runs made by hand, and the recorded ones in `curves`."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tuner.diagnosis import Run, RunEpoch, read_run

CURVES = Path(__file__).parent / "curves"


@pytest.fixture
def run():
    """Makes a run of which only what is named is known; each curve has a value an epoch, none for what is missing."""

    def made(train, *, val=(), map50=(), map5095=(), seconds=(), planned=None, **known):
        def at(curve, i):
            return curve[i] if i < len(curve) else None

        epochs = []
        for i, loss in enumerate(train):
            found = {"mAP50": at(map50, i), "mAP50-95": at(map5095, i)}
            metrics = {name: value for name, value in found.items() if value is not None}
            epochs.append(
                RunEpoch(
                    epoch=i + 1,
                    train={"box": loss},
                    val=None if at(val, i) is None else {"box": val[i]},
                    metrics=metrics or None,
                    seconds=at(seconds, i),
                )
            )
        return Run(source="run", epochs=tuple(epochs), planned_epochs=planned, **known)

    return made


@cache
def _read(name):
    return read_run(CURVES / name)


@pytest.fixture
def recorded():
    """A recorded run, or its first epochs; `planned` puts them into a longer plan."""

    def read(name, epochs=None, **changed):
        found = _read(name)
        return replace(found, epochs=found.epochs[:epochs], **changed)

    return read


def straight(begin, end, number):
    """A straight line of so many values."""
    return [begin + (end - begin) * i / max(number - 1, 1) for i in range(number)]


def decaying(begin, end, number):
    """A loss as it usually falls: fast, then slowly."""
    return [end + (begin - end) * 0.93**i for i in range(number)]
