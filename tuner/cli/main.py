"""Define the command with its verbs, and turn each error into one line and an exit code."""

import errno
import gc
import logging
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from tuner import __version__
from tuner.cli import (
    compare,
    dashboard,
    data,
    db,
    diagnose,
    doctor,
    export,
    import_results,
    preview,
    promote,
    queue,
    report,
    run,
    sample_data,
    serve,
    simulate,
    slurm_script,
    status,
    submit,
    token,
    train,
)
from tuner.cli.arguments import hide_secrets, without_secrets
from tuner.cli.output import lasting_output
from tuner.exceptions import MachineError, SpaceError, TunerError, UsageError
from tuner.system.printable import printable
from tuner.system.signals import Interrupted

EXIT_CODES = """
Exit codes: 0 done · 1 internal error, please report · 2 command line · 3 search space or settings · 4 data set ·
5 machine, folder or package · 6 no trial succeeded · 7 stopped by a failure policy · 8 database ·
9 another driver runs the study · 75 preempted (SIGUSR1, SIGUSR2): requeue · 129, 130, 143 stopped by a signal.
After 8, 9, 75, 129, 130 and 143, run the same command again to resume.
"""

_NOBODY_READS = (errno.EPIPE, errno.EIO)
"""Errors that mean that the reader closed the pipe, or that the terminal is gone."""

_OTHER_VERBS = {
    **dict.fromkeys(("list", "ls", "studies"), "`tune status` lists the studies"),
    **dict.fromkeys(("show", "info", "ps"), "`tune status STUDY` shows a study and its driver"),
    **dict.fromkeys(("kill", "pause", "cancel"), "Ctrl+C stops a run, as does SIGTERM to its process, which `tune "
                    "status STUDY` names; `tune stop` stops a study of a queue"),
    **dict.fromkeys(("resume", "continue", "restart"), "the same `tune run` command resumes a study"),
    **dict.fromkeys(("search", "start", "tune"), "`tune run` starts a search"),
    **dict.fromkeys(("rm", "delete", "remove"), "remove the study's folder in --home"),
    **dict.fromkeys(("best", "params"), "`tune export STUDY` writes the winner's parameters"),
}  # fmt: skip
"""Verbs of other tools that do not exist here, with the way that does."""

app = typer.Typer(
    help="Find good hyper-parameters for a detector: check the data, search, train in full, export.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("doctor")(doctor.doctor)
app.command("preview")(preview.preview)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("dashboard")(dashboard.dashboard)
app.command("promote")(promote.promote)
app.command("export")(export.export)
app.command("submit", context_settings=submit.REST)(submit.submit)
app.command("queue")(queue.queue)
app.command("logs")(queue.logs)
app.command("stop")(queue.stop)
app.command("import-results")(import_results.import_results)
app.command("train")(train.train)
app.command("diagnose")(diagnose.diagnose_run)
app.command("simulate")(simulate.simulate)
app.command("slurm-script")(slurm_script.slurm_script)
app.command("sample-data")(sample_data.sample_data)
app.command("serve")(serve.serve)
app.add_typer(token.app, name="token")
app.add_typer(data.app, name="data")
app.add_typer(db.app, name="db")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"mamba-yolo-tuner {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log everything.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Accept the options of every verb."""


def _to_standard_error(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main(arguments: list[str] | None = None, *, tell: Callable[[str], object] = _to_standard_error) -> NoReturn:
    """Run the command and exit with its exit code; `--debug` is accepted at any position.

    Args:
        arguments: Arguments of the command; None for those of this process.
        tell: Receives the error of a command that fails.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        hide_secrets(given)
    debug = "--debug" in given
    _configure_logging(debug=debug)
    with lasting_output() as failures:
        code = _exit_code([argument for argument in given if argument != "--debug"], tell, debug=debug)
        sys.stdout.flush()
        if code == 0 and any(error.errno not in _NOBODY_READS for error in failures):
            tell(f"The command succeeded, but its output could not be written: {failures[0].strerror}.")
            code = MachineError.exit_code
    if arguments is None:
        for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(signum, signal.SIG_IGN)  # a late signal must not turn success into failure
    gc.freeze()  # or the interpreter searches all imports for garbage before it ends: 0.7 s after Ray
    sys.exit(code)


def _configure_logging(*, debug: bool) -> None:
    shown = logging.StreamHandler()
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        handlers=[shown],
    )
    if not debug:
        # Messages of our own reach the user through the view; the log is for the driver's file.
        shown.addFilter(lambda record: record.name.split(".")[0] != "tuner")
        logging.getLogger("tuner").setLevel(logging.INFO)
        # Not of the logger `optuna`: Optuna sets that to INFO when it is imported, which is later.
        for part in ("samplers", "storages", "study", "trial"):
            logging.getLogger(f"optuna.{part}").setLevel(logging.ERROR)


def _refuse_other_verb(arguments: list[str]) -> None:
    verb = next((argument for argument in arguments if not argument.startswith("-")), "")
    if verb in _OTHER_VERBS:
        raise UsageError(f"There is no verb '{verb}'; {_OTHER_VERBS[verb]}.")


def _exit_code(arguments: list[str], tell: Callable[[str], object], *, debug: bool) -> int:
    try:
        _refuse_other_verb(arguments)
        code = typer.main.get_command(app).main(
            args=arguments, prog_name="tune", standalone_mode=False, obj=without_secrets(arguments)
        )
    except (TunerError, Interrupted) as error:
        if debug:
            traceback.print_exc()
        tell(_told(error))
        return error.exit_code
    except typer.Exit as leave:
        return int(leave.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
            return 1
        return _report(error, tell)
    return int(code or 0)


def _told(error: BaseException) -> str:
    """Return the text of an error: one line, or one line for each problem of a space."""
    lines = str(error).split("\n") if isinstance(error, SpaceError) else [str(error)]
    return "\n".join(map(printable, lines))


def _report(error: Exception, tell: Callable[[str], object]) -> int:
    show = getattr(error, "show", None)
    if callable(show):  # click's own usage errors
        error.message = printable(str(getattr(error, "message", error)))  # type: ignore[attr-defined]
        if tell is _to_standard_error:
            show()  # with the usage of the verb
        else:
            tell(error.format_message())  # type: ignore[attr-defined]
        return int(getattr(error, "exit_code", 2))
    tell(f"Internal error, please report: {type(error).__name__}: {_told(error)}; --debug shows where.")
    return 1
