"""Check whether the decisions in a log are reproducible."""

import json
from collections.abc import Callable, Iterable

import numpy as np

from tuner.decisions.decider import Decider
from tuner.decisions.history import History, Status
from tuner.decisions.strategies import Engine
from tuner.unit_cube import Floats


def differences(
    lines: Iterable[str], engine: Engine, *, epochs: int, rounded: Callable[[Floats], Floats] = lambda point: point
) -> list[str]:
    """Return the decisions that the engine would now make differently, one line each; empty if there are none.

    The log holds the events in order: the starts of trials with their points, the epochs, and the resumed trials.
    Between these events, the function asks the engine for its decision.

    Args:
        lines: Lines of a search's log (see `Decider`).
        engine: Engine to check.
        epochs: Length of a full run, in epochs.
        rounded: Function that returns the point of the configuration that a proposed point leads to.
    """
    decider = Decider(engine, History(epochs=epochs, dimensions=len(engine.cube.dimensions)))
    found: list[str] = []
    for line in lines:
        event = json.loads(line)
        if "begin" in event:
            point = np.array(event["point"])
            proposed = decider.proposed() if event["proposed"] else None
            if proposed is not None and not np.allclose(rounded(proposed), point, atol=1e-9):
                found.append(f"trial {event['begin']} started at another point than the engine now proposes")
            decider.begin(point, is_proposed=event["proposed"])
        elif "resume" in event:
            called = decider.resumed()
            if called is not None and called != event["resume"]:  # None: the trial had been interrupted
                found.append(f"trial {event['resume']} was resumed, but the engine would now resume trial {called}")
            decider.resume(event["resume"])
        elif "hear" in event:
            verdict = decider.report(event["hear"], event["epoch"], event["metric"], event["loss"])
            if type(verdict).__name__ != event["verdict"]:
                found.append(
                    f"trial {event['hear']} at epoch {event['epoch']}: {event['verdict']} before, now {verdict}"
                )
        elif "end" in event:
            decider.end(event["end"], Status[event["status"]])
    return found
