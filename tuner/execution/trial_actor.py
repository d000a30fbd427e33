"""Define the Ray Tune trainable that holds the trainer process of one slot; it is light, so Ray can reuse it."""

import time
from typing import Any

import ray
from ray import tune

from tuner.contract import TrainRequest, decode, encode
from tuner.execution.slot_health import Place
from tuner.execution.trainer_process import TrainerProcess
from tuner.execution.watchdog import HangTimeouts

REQUEST_KEY = "request"
COMMAND_KEY = "command"
HANG_TIMEOUTS_KEY = "hang_timeouts"
RECORDS_KEY = "records"
PLACE_KEY = "place"

_HEARTBEAT_S = 1.0
"""Maximum time that an actor waits for records, in seconds; it cannot receive calls while it waits."""


class TrialActor(tune.Trainable):  # type: ignore[misc]  # ray has no types
    """Ray Tune trainable of the trial in its config; each step returns the trainer's records since the last step.

    The results contain no metrics, only the place, and the records for our scheduler adapter, as lines of the contract.
    """

    _request: TrainRequest
    _hang_timeouts: HangTimeouts
    _sent: bool

    def setup(self, config: dict[str, Any]) -> None:
        context = ray.get_runtime_context()
        self._place = Place(context.get_node_id(), tuple(context.get_accelerator_ids().get("GPU", ())))
        self._trainer = TrainerProcess(config[COMMAND_KEY])
        self._assign(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._trainer.stop_request()
        self._assign(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if not self._sent:
            self._sent = True
            self._trainer.send(self._request, self._hang_timeouts)
        if not self._trainer.is_busy:  # the scheduler holds this slot after the end of its trial
            time.sleep(_HEARTBEAT_S)
        records = self._trainer.receive(timeout_s=_HEARTBEAT_S)
        return {PLACE_KEY: self._place, RECORDS_KEY: [encode(record) for record in records]}

    def cleanup(self) -> None:
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
