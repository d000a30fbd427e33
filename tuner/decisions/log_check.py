"""Whether a log of decisions, decided again, comes out the same."""

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
    """What the engine would have decided otherwise, one line each; empty where it decides the same.

    The log says what happened, in order: which trials began where, what they showed, which were called back. Between
    these events the engine is asked what it would do.

    Args:
        lines: of a search's log (`Decider`).
        epochs: length of a full run.
        rounded: the point of the configuration that a proposed point leads to.
    """
    decider = Decider(engine, History(epochs=epochs, dimensions=len(engine.cube.dimensions)))
    found: list[str] = []
    for line in lines:
        event = json.loads(line)
        if "begin" in event:
            point = np.array(event["point"])
            proposed = decider.proposed() if event["proposed"] else None
            if proposed is not None and not np.allclose(rounded(proposed), point, atol=1e-9):
                found.append(f"trial {event['begin']} began elsewhere than would be proposed now")
            decider.begin(point, is_proposed=event["proposed"])
        elif "resume" in event:
            called = decider.resumed()
            if called is not None and called != event["resume"]:  # none: it had been cut off
                found.append(f"trial {event['resume']} was called back, now it would be {called}")
            decider.resume(event["resume"])
        elif "hear" in event:
            verdict = decider.report(event["hear"], event["epoch"], event["metric"], event["loss"])
            if type(verdict).__name__ != event["verdict"]:
                found.append(f"trial {event['hear']} at epoch {event['epoch']}: {event['verdict']}, now {verdict}")
        elif "end" in event:
            decider.end(event["end"], Status[event["status"]])
    return found
