"""Render the report of a study as one HTML file that needs no network, and its charts as PNG files."""

import json
from dataclasses import dataclass
from pathlib import Path

from tuner.comparison.record import reevaluated
from tuner.exceptions import MachineError, NoSuccessfulTrialError
from tuner.report.charts import IMAGE, PAGE
from tuner.report.study_records import SlotSpan, Subject, cost_unit, subject_of
from tuner.report.study_sections import Section, study_sections
from tuner.study import StoredStudy
from tuner.system.atomic_files import write_whole
from tuner.training.final_run import choose_winner

VEGA_LITE = "6.4"
"""Version of Vega-Lite that draws the charts; it must be the one of Altair's schema."""

_GLOBALS = "window.vegaEmbed = vegaEmbed;"
"""Script that makes the bundled library visible to the page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyReport:
    """Content of a report."""

    subject: Subject
    headline: str
    """Result in one sentence."""
    cost: str
    """Training time in one sentence; empty if it is unknown."""
    sections: tuple[Section, ...]
    params: str
    """Text of params.yaml; empty if there is none."""


def study_report(study: StoredStudy, folder: Path, spans: tuple[SlotSpan, ...] = ()) -> StudyReport:
    """Collect the content of a report from a study and the files in its folder; parts that are missing are left out.

    Raises:
        StorageError: The database cannot be used.
        UsageError: The study optimises several values.
    """
    trials = study.trials()
    subject = subject_of(study)
    return StudyReport(
        subject=subject,
        headline=_headline(study),
        cost=_cost(study),
        sections=tuple(study_sections(study, subject, trials, spans)),
        params=_params(folder),
    )


def study_page(report: StudyReport) -> str:
    """Return the HTML page; all text from the study is escaped."""
    import vl_convert
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Autoescape for every template, because a study or a parameter may be named like a tag.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    specs = {chart.name: chart.draw(PAGE) for section in report.sections for chart in section.charts}
    return environment.get_template("study_page.html.j2").render(
        report=report,
        # "<" as an escape: in a string of JSON it could end the script element.
        specs=json.dumps(specs, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        vega=vl_convert.javascript_bundle(_GLOBALS, vl_version=VEGA_LITE).replace("</script", "<\\/script"),
    )


def chart_images(report: StudyReport) -> dict[str, bytes]:
    """Return the charts as PNG images by the name of their file."""
    import vl_convert

    drawn = {chart.name: chart.draw(IMAGE) for section in report.sections for chart in section.charts}
    return {
        f"{name}.png": vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=2) for name, spec in drawn.items()
    }


def write_report(report: StudyReport, target: Path) -> None:
    """Write the page atomically.

    Raises:
        MachineError: The target cannot be written.
    """
    try:
        write_whole(target, study_page(report).encode())
    except OSError as error:
        raise MachineError(
            f"The output file must be writable, but '{target}' is not ({error.strerror}); choose another with -o."
        ) from error


def write_images(report: StudyReport, folder: Path) -> None:
    """Write the charts as PNG files into a folder, which is created if necessary.

    Raises:
        MachineError: The folder cannot be written.
    """
    images = chart_images(report)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in images.items():
            write_whole(folder / name, content)
    except OSError as error:
        raise MachineError(
            f"The folder of images must be writable, but '{folder}' is not ({error.strerror}); choose another."
        ) from error


def _headline(study: StoredStudy) -> str:
    try:
        return choose_winner(study).said()
    except NoSuccessfulTrialError as error:
        return str(error)


def _cost(study: StoredStudy) -> str:
    """Return what search and re-evaluation have trained; failed attempts are not recorded, so they do not count."""
    trials, known = study.trials(), reevaluated(study)
    search = sum(trial.facts.seconds or 0.0 for trial in trials) / 3600
    if not search:
        return ""
    again = 0.0 if known is None else sum(run.seconds for run in known.runs) / 3600
    after = f" and {again:,.2f} in {len(known.runs)} re-evaluation runs" if known is not None and again else ""
    return f"It took {search:,.2f} {cost_unit(trials)} in {len(trials)} trials{after}."


def _params(folder: Path) -> str:
    try:
        return (folder / "params.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
