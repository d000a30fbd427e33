"""Drive a real search in simulated time: its slots play recorded curves, and an epoch takes no time."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from tuner.contract import EndRecord, EpochRecord, Outcome, StartedRecord, TrainRequest
from tuner.search.search import Search
from tuner.trials.workload import Decision


@dataclass(frozen=True, slots=True)
class Epoch:
    """The report of a trainer on an epoch."""

    metric: float
    loss: float
    seconds: float


def drive(search: Search, slots: int, played: Callable[[TrainRequest, int], Epoch]) -> float:
    """Drive a search to its end, and return when its last epoch ended, in simulated seconds.

    Args:
        search: Search that has not begun.
        slots: Number of trials that train at the same time.
        played: Returns the report of the trainer of a request on an epoch (1-based).
    """
    now_s, free = 0.0, slots
    events: list[tuple[float, int, TrainRequest, int]] = []
    """(end of the epoch in simulated seconds, order of arrival, request, epoch)"""
    arrivals = 0

    def train(request: TrainRequest, epoch: int) -> None:
        nonlocal arrivals
        arrivals += 1
        heapq.heappush(events, (now_s + played(request, epoch).seconds, arrivals, request, epoch))

    trained: dict[int, int] = {}
    while True:
        while free and (request := search.suggest()) is not None:
            free -= 1
            search.report(request.trial, StartedRecord(pid=1, device="CPU"))
            earlier = trained.get(request.trial, 0)
            for epoch in range(1, earlier + 1):  # a resumed trainer reports them again
                search.report(request.trial, _record(request, epoch, played(request, epoch)))
            train(request, earlier + 1)
        if not events:
            return now_s
        now_s, _, request, epoch = heapq.heappop(events)
        trained[request.trial] = epoch
        decision = search.report(request.trial, _record(request, epoch, played(request, epoch)))
        if decision == Decision.CONTINUE and epoch < request.stop_epoch:
            train(request, epoch + 1)
            continue
        if decision == Decision.CONTINUE:
            search.report(request.trial, EndRecord(outcome=Outcome.COMPLETED))
        free += 1


def _record(request: TrainRequest, epoch: int, values: Epoch) -> EpochRecord:
    metrics = dict.fromkeys(("mAP50-95", "mAP50", "precision", "recall"), values.metric)
    return EpochRecord(
        epoch=epoch,
        losses={"box": values.loss},
        metrics=metrics if epoch in request.validation_epochs else None,
        seconds=values.seconds,
        memory_gib=0.5,
        learning_rate=0.01,
        batch=16,
        checkpoint="last.pt",
    )
