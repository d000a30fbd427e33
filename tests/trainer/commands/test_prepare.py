"""Preparing a study: what is written for it is written by one process at a time."""

import threading
from pathlib import Path

from trainer.commands import prepare
from trainer.system import atomic_files
from tuner.contract import Outcome, PrepareRequest


def test_two_do_not_prepare_one_study_at_once(tmp_path):
    request = PrepareRequest(data=str(tmp_path / "none.yaml"), model="mamba-yolo-n", directory=str(tmp_path))
    ends = []
    second = threading.Thread(target=lambda: ends.append(prepare.run(request, lambda record: None)))
    with atomic_files.held(Path(request.directory) / "prepare.log"):
        second.start()
        second.join(0.5)
        assert ends == []
    second.join(30)
    assert [end.outcome for end in ends] == [Outcome.BAD_DATA]
