"""Write what a run leaves for people: the winner's card and the report. A failure is one warning and costs nothing."""

from collections.abc import Callable, Sequence

from tuner.exceptions import TunerError
from tuner.study import ReadableStudy, StudyPaths
from tuner.training.card import make_card


def write_card(study: ReadableStudy, paths: StudyPaths, trainer: Sequence[str], tell: Callable[[str], None]) -> None:
    """Have the trainer measure the weights of a complete final run, unless they are already measured.

    Args:
        study: Study of the run.
        paths: Paths of the study.
        trainer: Command of the trainer.
        tell: Receives one-line messages for the user.
    """
    try:
        make_card(study, paths, trainer)
    except Exception as error:
        tell(f"warning: the winner's card could not be made: {_said(error)}")


def write_report(study: ReadableStudy, paths: StudyPaths, tell: Callable[[str], None], *, notice: str = "") -> str:
    """Write the report, and return its path; empty if it could not be written.

    Args:
        study: Study of the run.
        paths: Paths of the study.
        tell: Receives one-line messages for the user.
        notice: State of the study in one sentence, such as how the run ended; empty if it is done.
    """
    try:
        from tuner.report.page.page import write_page  # slow to import, and most runs end in hours
        from tuner.report.page.study import study_page

        write_page(study_page(study, paths, notice=notice), paths.report)
    except Exception as error:
        tell(f"warning: the report could not be written: {_said(error)}")
        return ""
    return str(paths.report)


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, TunerError) else f"{type(error).__name__}: {text}"
