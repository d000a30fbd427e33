"""Train one long run on a machine of the cluster with enough free resources."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray

from tuner.contract import EndRecord, Outcome, Record, TrainRequest, decode, encode
from tuner.execution.trainer_process import TrainerProcess
from tuner.execution.watchdog import HangTimeouts
from tuner.trials.attempts import run_with_retries

_HEARTBEAT_S = 1.0


class _TrainerHost:
    def __init__(self, command: Sequence[str]) -> None:
        self._trainer = TrainerProcess(command)

    def send(self, line: str, hang_timeouts: HangTimeouts) -> None:
        self._trainer.send(decode(line), hang_timeouts)  # type: ignore[arg-type]  # requests only

    def receive(self) -> list[str]:
        return [encode(record) for record in self._trainer.receive(timeout_s=_HEARTBEAT_S)]

    def close(self) -> None:
        self._trainer.stop_request()
        self._trainer.close()


_RemoteTrainer: Any = ray.remote(_TrainerHost)


def gpus_of_largest_node() -> int:
    """Return the GPU count of the machine with the most GPUs, because one run cannot span machines."""
    return max((int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]), default=0)


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

    def attempt(listen: Callable[[Record], None]) -> EndRecord:
        return _attempt(request, command, hang_timeouts, cpus=cpus, on_record=listen, should_stop=should_stop)

    return run_with_retries(attempt, on_record)


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
            ray.get(trainer.send.remote(encode(request), hang_timeouts))
            while not should_stop():
                for line in ray.get(trainer.receive.remote()):
                    record = decode(line)
                    if isinstance(record, EndRecord):
                        return record
                    on_record(record)  # type: ignore[arg-type]  # trainers send records only
            return EndRecord(outcome=Outcome.STOPPED)
    except ray.exceptions.RayActorError:
        return EndRecord(outcome=Outcome.ERROR, message="its process or machine was lost", retryable=True)


@contextlib.contextmanager
def _placed(command: Sequence[str], *, cpus: float, gpus: int) -> Iterator[Any]:
    trainer = _RemoteTrainer.options(num_cpus=cpus, num_gpus=gpus).remote(list(command))
    try:
        yield trainer
    finally:
        with contextlib.suppress(ray.exceptions.RayActorError):
            ray.get(trainer.close.remote())
        ray.kill(trainer)
