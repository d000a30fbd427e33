"""Provide runs made by hand, and the recorded ones in `curves`."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tuner.diagnosis import Run, RunEpoch, read_run

CURVES = Path(__file__).parent / "curves"


@pytest.fixture
def run():
    """Return a function that makes a run from the given curves. Each has a value per epoch, None for a missing one."""

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
    """Return a function that reads a recorded run or its first epochs; `planned` makes its plan longer."""

    def read(name, epochs=None, **changed):
        found = _read(name)
        return replace(found, epochs=found.epochs[:epochs], **changed)

    return read


def straight(begin, end, number):
    """Return that many values on a straight line."""
    return [begin + (end - begin) * i / max(number - 1, 1) for i in range(number)]


def decaying(begin, end, number):
    """Return a loss that falls as usual: fast, then slowly."""
    return [end + (begin - end) * 0.93**i for i in range(number)]


BOXES = ("precision(B)", "recall(B)", "mAP50(B)", "mAP50-95(B)")
MASKS = tuple(name.replace("B", "M") for name in BOXES)
POSES = tuple(name.replace("B", "P") for name in BOXES)


def columns(losses, metrics=BOXES, *, suffix="_loss", rates=("lr/pg0", "lr/pg1", "lr/pg2")):
    """Return the columns of a results.csv."""
    of = {split: [f"{split}/{loss}{suffix}" for loss in losses] for split in ("train", "val")}
    return ["epoch", *of["train"], *(f"metrics/{name}" for name in metrics), *of["val"], *rates]


def healthy_rows(names, epochs, *, first=1, changed=None):
    """Return the rows of a run that learns normally; `changed` gives the values of a column by epoch."""
    for number in range(first, first + epochs):
        learnt = 1 - 0.97 ** (number * 100 / epochs)
        usual = {"epoch": number, "train": 2.4 - 1.5 * learnt, "val": 2.6 - 1.3 * learnt, "metrics": 0.68 * learnt}
        values = {name: usual.get(name.partition("/")[0], 0.01) for name in names}
        values |= {name: values[name] * 0.66 for name in names if "95" in name}
        values |= {name: value(number) for name, value in (changed or {}).items() if value(number) is not None}
        yield ",".join(f"{value:>22}" for value in values.values())


@pytest.fixture
def written(tmp_path):
    """Return a function that writes and reads a run with these columns; without args.yaml if `arguments` is None."""

    def write(names, *, first=1, changed=None, epochs=60, arguments="task: detect\nepochs: 60\noptimizer: SGD\n"):
        rows = healthy_rows(names, epochs, first=first, changed=changed)
        (tmp_path / "results.csv").write_text("\n".join([",".join(f"{name:>22}" for name in names), *rows]) + "\n")
        if arguments is not None:
            (tmp_path / "args.yaml").write_text(arguments)
        return read_run(tmp_path)

    return write
