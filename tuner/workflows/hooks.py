"""Report the end of a run to a command and to URLs of the user; a hook that fails costs a warning, nothing else."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import IO

from optuna.trial import TrialState

from tuner.exceptions import TunerError
from tuner.study import ReadableStudy, StudyPaths, best_trial
from tuner.system.masking import masked_url, without_urls
from tuner.system.printable import printable
from tuner.system.signals import PREEMPTED, Interrupted
from tuner.training.final_run import Winner, choose_winner
from tuner.workflows.notifications import Delivery, Message
from tuner.workflows.run_files import write_report

FACTS_VERSION = 1
"""Version of the facts that hooks receive; a change of meaning raises it."""

TIMEOUT_S = 60.0
"""Time that all hooks of a run have together, in seconds."""

_LONGEST_VALUE = 4_000
"""Maximum number of characters of an environment variable."""

_MOST_LINES = 20
"""Maximum number of lines of a command's output that are shown."""

_INTERNAL_ERROR = 1
_SIGINT = 130


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """Hooks of a run, which are called when it ends."""

    on_end: str | None = None
    """Command for the shell; None for no command."""
    notify: tuple[str, ...] = ()
    """URLs to notify."""
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True, kw_only=True, slots=True)
class EndFacts:
    """Facts about a run that has ended; the names are those that hooks receive. "" means unknown."""

    outcome: str
    """done, stopped (by a signal), preempted (by SIGUSR1 or SIGUSR2: requeue) or failed."""
    exit_code: int
    study: str = ""
    folder: str = ""
    verdict: str = ""
    """How the winner compares with the default configuration, in one or two sentences."""
    best: float | None = None
    """Highest metric of the search, 0..1; None if no trial is complete."""
    params: str = ""
    """Path of params.yaml, once it is written."""
    weights: str = ""
    """Path of the winner's best.pt, once the final run is complete."""
    report: str = ""
    """Path of the report, once it is written."""
    message: str = ""
    """Error on one line; "" if the run is done."""

    @property
    def summary(self) -> str:
        """Outcome and result on one line, for people."""
        result = self.message or self.verdict
        return f"{self.study or 'tune'}: {self.outcome}{'. ' if result else ''}{result}"

    def encoded(self) -> str:
        """Return the facts as JSON, with a version and a text for people."""
        return json.dumps({"version": FACTS_VERSION, "text": self.summary, **asdict(self)})

    def variables(self) -> dict[str, str]:
        """Return the facts as environment variables, each on one line."""
        values = {name: "" if value is None else str(value) for name, value in asdict(self).items()}
        return {f"TUNE_{name.upper()}": printable(value)[:_LONGEST_VALUE] for name, value in values.items()}


class RunEnd:
    """End of one run: knows the study as soon as there is one, writes the report, and calls the hooks at most once."""

    def __init__(self, hooks: Hooks, tell: Callable[[str], None]) -> None:
        self._hooks = hooks
        self._tell = tell
        self._study: ReadableStudy | None = None
        self._name = ""
        self._paths: StudyPaths | None = None
        self._lock = threading.Lock()
        self._is_over = False
        self._report = ""

    def concerns(self, name: str, paths: StudyPaths) -> None:
        """Name the study of the run."""
        self._name, self._paths = name, paths

    def reads(self, study: ReadableStudy) -> None:
        """Take the facts from this study, which stays readable in memory after its database is closed."""
        self._study = study

    def write_report(self, notice: str = "") -> None:
        """Write the report of the study, if it has trials. Never raises.

        Args:
            notice: How the run ended, in one sentence; empty if it is done.
        """
        if self._study is not None and self._paths is not None and self._study.trials():
            self._report = write_report(self._study, self._paths, self._tell, notice=notice)

    def report(self, exit_code: int, message: str = "") -> None:
        """Write the report unless it is written, and call the hooks, no longer than their timeout. Never raises."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        try:
            with _cancellable():
                self._report_end(message)
        except _Cancelled as cancelled:
            self._tell(f"warning: the report was cancelled by {cancelled}")
        if self._hooks.on_end is None and not self._hooks.notify:
            return
        try:
            call_hooks(self._hooks, self._facts(exit_code, message), self._tell)
        except Exception as error:  # whatever is wrong with a hook, the run has its exit code
            self._tell(f"warning: the hooks failed: {type(error).__name__}: {without_urls(str(error))}")

    def _report_end(self, message: str) -> None:
        if not self._report:
            self.write_report(f"The run ended early: {message}" if message else "")
            if self._report:
                self._tell(f"report {self._report}")

    def _facts(self, exit_code: int, message: str) -> EndFacts:
        said = "; ".join(part for part in message.split("\n") if part)
        facts = EndFacts(
            outcome=_outcome(exit_code), exit_code=exit_code, study=self._name, report=self._report, message=said
        )
        if self._paths is None:
            return facts
        with contextlib.suppress(TunerError):  # a damaged record: report the end without the result
            return _with_results(facts, self._study, self._paths)
        return facts


@contextlib.contextmanager
def reported_end(hooks: Hooks, tell: Callable[[str], None]) -> Iterator[RunEnd]:
    """Call the hooks when the block ends, for whatever reason; the reason itself is unchanged.

    Args:
        hooks: Hooks of the run.
        tell: Receives one-line messages for the user.
    """
    end = RunEnd(hooks, tell)
    try:
        yield end
    except (TunerError, Interrupted) as error:
        end.report(error.exit_code, str(error))
        raise
    except KeyboardInterrupt:
        end.report(_SIGINT, "stopped by SIGINT")
        raise
    except Exception as error:
        end.report(_INTERNAL_ERROR, f"internal error: {type(error).__name__}: {error}")
        raise
    else:
        end.report(0)


def call_hooks(hooks: Hooks, facts: EndFacts, tell: Callable[[str], None]) -> None:
    """Run the command and send the notifications at the same time; tell what failed, one line each.

    SIGINT and SIGTERM cancel what is left.
    """
    deadline = time.monotonic() + hooks.timeout_s
    message = Message(title=_title(facts), facts=facts.encoded(), text=facts.summary)
    deliveries = [Delivery(url, message, hooks.timeout_s) for url in hooks.notify]
    try:
        with _cancellable():
            if hooks.on_end is not None:
                _run_command(hooks.on_end, facts, deadline, hooks.timeout_s, tell)
            for delivery in deliveries:
                problem = delivery.problem_by(deadline)
                if problem:
                    tell(f"warning: {masked_url(delivery.url)} was not notified: {problem}")
    except _Cancelled as cancelled:
        tell(f"warning: the hooks were cancelled by {cancelled}")


def _with_results(facts: EndFacts, study: ReadableStudy | None, paths: StudyPaths) -> EndFacts:
    best = None if study is None else best_trial(study.trials())
    winner = None if study is None or best is None else choose_winner(study)
    return replace(
        facts,
        folder=str(paths.root),
        verdict="" if winner is None else winner.said(),
        best=None if best is None else best.value,
        params=str(paths.params) if paths.params.exists() else "",
        weights="" if study is None or winner is None else _weights(study, winner),
    )


def _weights(study: ReadableStudy, winner: Winner) -> str:
    run = study.final_run
    is_trained = run is not None and run.state == TrialState.COMPLETE.name and run.trial == winner.trial.number
    return run.checkpoint if run is not None and is_trained else ""


def _outcome(exit_code: int) -> str:
    if exit_code == 0:
        return "done"
    if exit_code == PREEMPTED:
        return "preempted"
    return "stopped" if exit_code > 128 else "failed"


def _title(facts: EndFacts) -> str:
    return f"tune: {facts.study} {facts.outcome}" if facts.study else f"tune: {facts.outcome}"


def _run_command(command: str, facts: EndFacts, deadline: float, timeout_s: float, tell: Callable[[str], None]) -> None:
    """Run a command in the shell, and show what it prints; kill it and its children at the deadline."""
    with tempfile.TemporaryFile() as output:  # not a pipe, which a child in the background would keep open
        try:
            code = _exit_code(command, facts, deadline, output)
        except subprocess.TimeoutExpired:
            tell(f"warning: the command of --on-end was killed: it took longer than {timeout_s:g} s")
            return
        except OSError as error:
            tell(f"warning: the command of --on-end could not be started: {error.strerror}")
            return
        lines = _last_lines(output)
    if code:
        ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        tell(f"warning: the command of --on-end {ended}{': ' if lines else ''}{''.join(lines[-1:])}")
        return
    for line in lines:
        tell(line)


def _exit_code(command: str, facts: EndFacts, deadline: float, output: IO[bytes]) -> int:
    process = subprocess.Popen(
        command,
        shell=True,
        env={**os.environ, **facts.variables()},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a group of its own, so that its children can be killed with it
    )
    try:
        return process.wait(max(deadline - time.monotonic(), 0))
    finally:
        _kill_group(process)


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a command that still runs, with its children; leave the children of one that has ended."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_lines(output: IO[bytes]) -> list[str]:
    output.seek(max(output.seek(0, os.SEEK_END) - _MOST_LINES * _LONGEST_VALUE, 0))
    lines = output.read().decode(errors="replace").splitlines()
    return [without_urls(line) for line in lines if line.strip()][-_MOST_LINES:]


class _Cancelled(BaseException):
    """The user does not want to wait for the hooks; its text is the name of the signal."""


@contextlib.contextmanager
def _cancellable() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the block; ignore signals that only repeat the request that has ended the run."""
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        yield
        return

    def cancel(signum: int, frame: object) -> None:
        raise _Cancelled(signal.Signals(signum).name)

    def ignore(signum: int, frame: object) -> None:  # unlike SIG_IGN, a command does not inherit it
        pass

    handlers = {signal.SIGINT: cancel, signal.SIGTERM: cancel}
    handlers |= dict.fromkeys((signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2), ignore)
    before = {signum: signal.signal(signum, handler) for signum, handler in handlers.items()}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
