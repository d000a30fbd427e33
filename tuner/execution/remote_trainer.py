"""Train one long run on a machine of the cluster with enough free resources."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuner.contract import EndRecord, EpochRecord, Outcome, Record, TrainRequest, decode, encode
from tuner.execution.group_failures import GroupFailures
from tuner.execution.slot_health import Place, SlotHealth
from tuner.execution.trainer_process import TrainerProcess
from tuner.execution.visible_gpus import VARIABLE
from tuner.execution.watchdog import HangTimeouts
from tuner.trials.attempts import Attempts, run_with_retries
from tuner.trials.retry_policy import Failure, failure_of

_HEARTBEAT_S = 1.0


class _TrainerHost:
    def __init__(self, command: Sequence[str]) -> None:
        self._trainer = TrainerProcess(command)

    def gpus(self) -> list[Place]:
        """Return one place for each GPU that Ray has assigned."""
        context = ray.get_runtime_context()
        return [Place(context.get_node_id(), (gpu,)) for gpu in context.get_accelerator_ids().get("GPU", ())]

    def use_only(self, gpus: Sequence[str]) -> None:
        """Hide the other GPUs from the trainer, which the first request starts."""
        os.environ[VARIABLE] = ",".join(gpus)

    def send(self, line: str, hang_timeouts: HangTimeouts) -> None:
        self._trainer.send(decode(line), hang_timeouts)  # type: ignore[arg-type]  # requests only

    def receive(self) -> list[str]:
        return [encode(record) for record in self._trainer.receive(timeout_s=_HEARTBEAT_S)]

    def close(self) -> None:
        self._trainer.stop_request()
        self._trainer.close()


_RemoteTrainer: Any = ray.remote(_TrainerHost)


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuTerms:
    """Conditions for choosing the GPUs of one long run, and for replacing those that fail."""

    most: Callable[[], int]
    """Function that returns how many GPUs the run may reserve now, at least 1."""
    number_for: Callable[[int], int]
    """Function that returns the number of GPUs that suits the run if there are this many."""
    health: SlotHealth
    """Failures of GPUs in the search."""
    on_gpus: Callable[[int], None]
    """Function that receives the number of GPUs of each attempt."""
    on_event: Callable[[str], None]
    """Function that receives each line for the user."""


def gpus_of_largest_node() -> int:
    """Return the GPU count of the machine with the most GPUs, because one run cannot span machines."""
    return max((int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]), default=0)


def cpus_of_largest_node(*, gpus: int) -> float:
    """Return the CPUs of the largest machine with this many GPUs; a run that reserves more would wait forever."""
    there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return max((resources.get("CPU", 0.0) for resources in there if resources.get("GPU", 0) >= gpus), default=0.0)


def train_remotely(
    request: TrainRequest,
    command: Sequence[str],
    *,
    hang_timeouts: HangTimeouts,
    cpus: float,
    on_record: Callable[[Record], None],
    should_stop: Callable[[], bool],
) -> EndRecord:
    """Train a request, despite lost processes and machines; `on_record` receives every record except the end."""
    numbers = itertools.count(request.attempt)

    def attempt(listen: Callable[[Record], None]) -> EndRecord:
        now = replace(request, attempt=next(numbers))
        return _attempt(now, command, hang_timeouts, cpus=cpus, on_record=listen, should_stop=should_stop)

    return run_with_retries(attempt, on_record)


def train_on_working_gpus(
    request: TrainRequest,
    command: Sequence[str],
    terms: GpuTerms,
    *,
    hang_timeouts: HangTimeouts,
    cpus: float,
    on_record: Callable[[Record], None],
    should_stop: Callable[[], bool],
) -> EndRecord:
    """Train a request as `train_remotely` does, but replace GPUs that fail, or do without them.

    Each attempt resumes from the last checkpoint. The number of attempts without an epoch in between is limited (see
    `GroupFailures`). The devices of the request are those of a run without failures.
    """
    attempts, failures, numbers = Attempts(), GroupFailures(terms.health), itertools.count(request.attempt)
    there: list[Place] = []
    group: tuple[Place, ...] = ()
    before = ""  # what became of the attempt before, for the user

    def listen(record: Record) -> None:
        # A trainer that resumes may report the epochs before its checkpoint again; they say nothing about these GPUs.
        if isinstance(record, EpochRecord) and attempts.note_epoch(record.epoch):
            failures.note_epoch(group)
        on_record(record)

    while gpus_of_largest_node():
        there, group = [], ()
        try:
            with _placed_next(command, terms, failures, cpus=cpus) as trainer:
                there = ray.get(trainer.gpus.remote())
                group = failures.chosen(there, terms.number_for) or tuple(there[: terms.number_for(len(there))])
                if told := _told(before, there, group, terms.health):
                    terms.on_event(told)
                terms.on_gpus(len(group))
                ray.get(trainer.use_only.remote([gpu for place in group for gpu in place.gpus]))
                now = replace(request, devices=tuple(range(len(group))), attempt=next(numbers))
                end = _carried_out(trainer, now, hang_timeouts, on_record=listen, should_stop=should_stop)
        except ray.exceptions.RayActorError:
            end = _LOST
        failure = failure_of(end)
        if failure is None:
            return end
        failures.note_failure(group)
        is_transient = failure in (Failure.INFRASTRUCTURE, Failure.HUNG)
        if not attempts.fail(failure, end.message) and not (is_transient and failures.chosen(there, terms.number_for)):
            return end
        before = f"the final run failed on {_named(group)}: {end.message}"
    return EndRecord(outcome=Outcome.ERROR, message="no machine with a GPU is left", retryable=True)


@contextlib.contextmanager
def _placed_next(command: Sequence[str], terms: GpuTerms, failures: GroupFailures, *, cpus: float) -> Iterator[Any]:
    """Start a trainer on a machine that has failed least, with all GPUs that the run may have there.

    Before any failure, other users of a cluster keep the GPUs that the run does not need, and Ray chooses the machine.
    """
    most = min(terms.most(), gpus_of_largest_node())
    if failures.has_any:
        placed = _placed(command, cpus=cpus, gpus=most, node=_node_with_fewest_failures(failures, most))
    else:
        placed = _placed(command, cpus=cpus, gpus=terms.number_for(most))
    with placed as trainer:
        yield trainer


def _told(before: str, there: Sequence[Place], group: Sequence[Place], health: SlotHealth) -> str:
    """Describe in one line why an attempt has these GPUs; "" if there is nothing to say."""
    if before:
        return f"{before}; it resumes from its last checkpoint on {_named(group)}"
    held = [place for place in there if health.is_held(place) and place not in group]
    return f"the final run leaves out {_named(held)}, which failed in the search" if held else ""


def _named(group: Sequence[Place]) -> str:
    """Name the GPUs of a machine, as Ray numbers them."""
    gpus = [gpu for place in group for gpu in place.gpus]
    if not gpus:
        return "its machine"
    return f"{'GPUs' if len(gpus) > 1 else 'GPU'} {','.join(gpus)} of {_address(group[0].node)}"


def _address(node_id: str) -> str:
    return next((node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == node_id), "a lost machine")


def _node_with_fewest_failures(failures: GroupFailures, gpus: int) -> str | None:
    """Return the machine with enough GPUs that has failed least, by Ray's identifier; None if there is none."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= gpus]
    return min(nodes, key=failures.of_node, default=None)


_LOST = EndRecord(outcome=Outcome.ERROR, message="its process or machine was lost", retryable=True)


def _attempt(
    request: TrainRequest,
    command: Sequence[str],
    hang_timeouts: HangTimeouts,
    *,
    cpus: float,
    on_record: Callable[[Record], None],
    should_stop: Callable[[], bool],
) -> EndRecord:
    try:
        with _placed(command, cpus=cpus, gpus=len(request.devices)) as trainer:
            return _carried_out(trainer, request, hang_timeouts, on_record=on_record, should_stop=should_stop)
    except ray.exceptions.RayActorError:
        return _LOST


def _carried_out(
    trainer: Any,
    request: TrainRequest,
    hang_timeouts: HangTimeouts,
    *,
    on_record: Callable[[Record], None],
    should_stop: Callable[[], bool],
) -> EndRecord:
    ray.get(trainer.send.remote(encode(request), hang_timeouts))
    while not should_stop():
        for line in ray.get(trainer.receive.remote()):
            record = decode(line)
            if isinstance(record, EndRecord):
                return record
            on_record(record)  # type: ignore[arg-type]  # trainers send records only
    return EndRecord(outcome=Outcome.STOPPED)


@contextlib.contextmanager
def _placed(command: Sequence[str], *, cpus: float, gpus: int, node: str | None = None) -> Iterator[Any]:
    """Start a trainer, if possible on this machine."""
    where = "DEFAULT" if node is None else NodeAffinitySchedulingStrategy(node, soft=True)
    trainer = _RemoteTrainer.options(num_cpus=cpus, num_gpus=gpus, scheduling_strategy=where).remote(list(command))
    try:
        yield trainer
    finally:
        with contextlib.suppress(ray.exceptions.RayActorError):
            ray.get(trainer.close.remote())
        ray.kill(trainer)
