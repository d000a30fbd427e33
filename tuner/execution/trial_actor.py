"""The Ray Tune trainable: light, so that Ray can reuse it; it holds the trainer process of one slot."""

from typing import Any

from ray import tune

from tuner.contract import TrainRequest, decode, encode
from tuner.execution.trainer_process import TrainerProcess
from tuner.execution.watchdog import Patience

REQUEST_KEY = "request"
COMMAND_KEY = "command"
PATIENCE_KEY = "patience"
RECORDS_KEY = "records"

_HEARTBEAT_S = 1.0
"""An actor cannot be told anything while it waits, so it never waits longer than this."""


class TrialActor(tune.Trainable):  # type: ignore[misc]  # ray has no types
    """Trains the trial in its config; each step passes on what the trainer said since the last one.

    Results hold no figures of their own: the records are for our scheduler adapter, as lines of the contract.
    """

    _request: TrainRequest
    _patience: Patience
    _sent: bool

    def setup(self, config: dict[str, Any]) -> None:
        self._trainer = TrainerProcess(config[COMMAND_KEY])
        self._assign(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._trainer.stop_request()
        self._assign(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if not self._sent:
            self._sent = True
            self._trainer.send(self._request, self._patience)
        records = self._trainer.receive(timeout_s=_HEARTBEAT_S)
        return {RECORDS_KEY: [encode(record) for record in records]}

    def cleanup(self) -> None:
        self._trainer.stop_request()
        self._trainer.close()

    def _assign(self, config: dict[str, Any]) -> None:
        """Take a trial on, and start it at the first step only.

        Tune creates an actor for a trial and then, when another one becomes free first, gives the trial to that
        one: the new actor is set up, never stepped, and thrown away. Started here, the trial would run twice.
        """
        request = decode(config[REQUEST_KEY])
        assert isinstance(request, TrainRequest)
        self._request = request
        self._patience = Patience(**config[PATIENCE_KEY])
        self._sent = False
