"""Define the Ray actor that holds the trainer process of one slot; it is light, so Ray Tune can reuse it."""

import time
from typing import Any

import ray

from tuner.contract import ProgressRecord, Record, TrainRequest, decode, encode
from tuner.execution.slot_health import Place
from tuner.execution.trainer_process import TrainerProcess
from tuner.execution.watchdog import HangTimeouts

REQUEST_KEY = "request"
COMMAND_KEY = "command"
HANG_TIMEOUTS_KEY = "hang_timeouts"
RECORDS_KEY = "records"
PLACE_KEY = "place"
RESOURCES_KEY = "resources"
HEARTBEAT_KEY = "heartbeat_s"
"""Maximum time that an actor waits for records, in seconds; it cannot receive calls while it waits."""
NODE_IP_KEY = "node_ip"
"""Tune's key of the address of the machine."""


def left_out(_: object) -> None:
    """Stand for an object of Tune that is left out of the arguments of an actor."""


class TrialActor:
    """Ray actor of the trial in its config; `train` returns the records since the last call.

    The results contain no metrics, only the place, and the records for our scheduler adapter, as lines of the contract.

    The methods are those that Tune calls on its `Trainable`. Deriving from that class would make every slot import Tune
    with pandas and Ray's libraries, which takes 55 MiB and 0.8 s of CPU time.
    """

    _request: TrainRequest
    _hang_timeouts: HangTimeouts
    _sent: bool

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> dict[str, float]:
        """Return the resources of a slot; called in the driver."""
        resources: dict[str, float] = config[RESOURCES_KEY]
        return resources

    def __init__(self, config: dict[str, Any], storage: None) -> None:
        context = ray.get_runtime_context()
        self._place = Place(context.get_node_id(), tuple(context.get_accelerator_ids().get("GPU", ())))
        self._node_ip = ray.util.get_node_ip_address()
        self._trainer = TrainerProcess(config[COMMAND_KEY])
        self._heartbeat_s: float = config[HEARTBEAT_KEY]
        self._assign(config)

    def get_auto_filled_metrics(self, *, debug_metrics_only: bool) -> dict[str, Any]:
        """Return what Tune wants to know before the first result."""
        return {NODE_IP_KEY: self._node_ip}

    def reset(self, config: dict[str, Any], storage: None) -> bool:
        self._trainer.stop_request()
        self._assign(config)
        return True

    def train(self) -> dict[str, Any]:
        if not self._sent:
            self._sent = True
            self._trainer.send(self._request, self._hang_timeouts)
        if not self._trainer.is_busy:  # the scheduler holds this slot after the end of its trial
            time.sleep(self._heartbeat_s)
        records = next_records(self._trainer, self._heartbeat_s)
        lines = [encode(record) for record in records]
        return {NODE_IP_KEY: self._node_ip, PLACE_KEY: self._place, RECORDS_KEY: lines}

    def stop(self) -> None:
        self._trainer.stop_request()
        self._trainer.close()

    def _assign(self, config: dict[str, Any]) -> None:
        """Accept a trial; the first step starts it.

        Tune creates an actor for a trial. If another actor becomes free first, Tune gives the trial to that one, and
        discards the new actor after its setup. Starting the trial here would run it twice.
        """
        request = decode(config[REQUEST_KEY])
        assert isinstance(request, TrainRequest)
        self._request = request
        self._hang_timeouts = HangTimeouts(**config[HANG_TIMEOUTS_KEY])
        self._sent = False


def next_records(trainer: TrainerProcess, timeout_s: float) -> list[Record]:
    """Return the records that have arrived, as soon as one of them is no progress, or after the timeout.

    No decision depends on progress, and each result takes the driver a millisecond.
    """
    records: list[Record] = []
    deadline_s = time.monotonic() + timeout_s
    while trainer.is_busy and all(isinstance(record, ProgressRecord) for record in records):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            break
        records += trainer.receive(left_s)
    return records
