"""Send one request to a new trainer: every end is reported, and no wait is unlimited."""

import sys
import time

import psutil
import pytest

from tuner.contract import (
    EndRecord,
    EnvironmentRequest,
    Outcome,
    PrepareRequest,
    ProgressRecord,
    StartedRecord,
    encode,
)
from tuner.exceptions import MachineError
from tuner.execution import single_request
from tuner.execution.single_request import ask, carry_out

STARTED = encode(StartedRecord(pid=1 << 30, device="none"))
PROGRESS = encode(ProgressRecord(step="images", done=1, total=2))
COMPLETED = encode(EndRecord(outcome=Outcome.COMPLETED))


def saying(*lines, first_s=0.0, then_s=0.0, to_errors="", code=0):
    """Return the command of a trainer that prints the first of these lines, waits, prints the others, and ends."""
    script = (
        f"import sys, time; sys.stdin.readline(); sys.stderr.write({to_errors!r}); time.sleep({first_s})\n"
        f"for line in {lines!r}: print(line, flush=True); time.sleep({then_s})\n"
        f"sys.exit({code})"
    )
    return [sys.executable, "-c", script]


def asked(tmp_path, command, **options):
    heard = []
    return ask(command, EnvironmentRequest(directory=str(tmp_path)), heard.append, **options), heard


def test_every_record_except_the_end_is_passed_on(tmp_path):
    end, heard = asked(tmp_path, saying(STARTED, PROGRESS, COMPLETED))
    assert end.outcome == Outcome.COMPLETED
    assert [record.type for record in heard] == ["started", "progress"]


def test_a_trainer_that_does_not_know_the_request_is_reported_with_its_command(tmp_path):
    end = encode(EndRecord(outcome=Outcome.UNSUPPORTED))
    with pytest.raises(MachineError, match=r"answers 'environment' requests, but .*python.* does not"):
        asked(tmp_path, saying(end))


def test_the_last_output_of_a_trainer_that_dies_is_in_the_error_and_not_printed(tmp_path, capfd):
    end, _ = asked(tmp_path, saying(STARTED, to_errors="Traceback\nImportError: no torch\n", code=1))
    assert (end.outcome, end.message) == (
        Outcome.ERROR,
        "the trainer ended with exit code 1: ImportError: no torch",
    )
    assert capfd.readouterr() == ("", "")


def test_a_trainer_that_never_starts_to_answer_is_abandoned(tmp_path, monkeypatch):
    monkeypatch.setattr(single_request, "FIRST_RECORD_S", 0.3)
    began = time.monotonic()
    end, _ = asked(tmp_path, saying(STARTED, first_s=60))
    assert (end.outcome, end.message) == (Outcome.HUNG, "it did not answer in time")
    assert time.monotonic() - began < 10


def test_a_trainer_that_has_started_to_answer_takes_as_long_as_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(single_request, "FIRST_RECORD_S", 2.0)
    end, _ = asked(tmp_path, saying(STARTED, COMPLETED, then_s=3))
    assert end.outcome == Outcome.COMPLETED


def test_a_time_limit_is_for_the_whole_answer(tmp_path):
    end, _ = asked(tmp_path, saying(STARTED, COMPLETED, then_s=60), timeout_s=2.0)
    assert end.outcome == Outcome.HUNG


@pytest.mark.parametrize(("then_s", "calls"), [(0.0, 0), (1.8, 1)], ids=["an answer at once", "a silent trainer"])
def test_other_work_is_done_only_while_a_trainer_that_has_started_is_silent(tmp_path, then_s, calls):
    request = PrepareRequest(data="d", model="m", directory=str(tmp_path))
    done = []
    command = saying(STARTED, COMPLETED, first_s=1.5, then_s=then_s)
    end = carry_out(command, request, lambda record: None, meanwhile=lambda: done.append("work"))
    assert (end.outcome, len(done)) == (Outcome.COMPLETED, calls)


def test_an_error_in_other_work_ends_the_trainer(tmp_path):
    pid_file = tmp_path / "pid"
    script = (
        f"import os, sys, time, pathlib; sys.stdin.readline(); print({STARTED!r}, flush=True); "
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )

    def fail():
        raise ImportError("no Ray")

    request = PrepareRequest(data="d", model="m", directory=str(tmp_path))
    with pytest.raises(ImportError, match="no Ray"):
        carry_out([sys.executable, "-c", script], request, lambda record: None, meanwhile=fail)
    assert not psutil.pid_exists(int(pid_file.read_text()))
