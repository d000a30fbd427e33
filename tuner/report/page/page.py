"""Render a page as one HTML file that needs no network, and its charts as PNG files."""

import json
from base64 import b64encode
from functools import cache
from pathlib import Path

from tuner.exceptions import MachineError
from tuner.report.page.charts.style import IMAGE, PAGE
from tuner.report.page.content import Item, Page
from tuner.system.atomic_files import write_whole

VEGA_LITE = "6.4"
"""Version of Vega-Lite that draws the charts; it must be able to draw what Altair's schema describes."""

_GLOBALS = "window.vegaEmbed = vegaEmbed;"
"""Script that makes the bundled library visible to the page."""


def render(page: Page) -> str:
    """Return the HTML; all text of the page is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Autoescape for every template, because a study or a parameter may be named like a tag.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda content: b64encode(content).decode()
    specs = {chart.name: chart.draw(PAGE) for chart in page.charts()}
    return environment.get_template("template.html.j2").render(
        page=page,
        kind_of=_kind_of,
        # "<" as an escape: in a string of JSON it could end the script element.
        specs=json.dumps(specs, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        vega=_vega(),
    )


def chart_images(page: Page) -> dict[str, bytes]:
    """Return the charts as PNG images by the name of their file."""
    import vl_convert

    drawn = {chart.name: chart.draw(IMAGE) for chart in page.charts()}
    return {
        f"{name}.png": vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=2) for name, spec in drawn.items()
    }


def write_page(page: Page, target: Path) -> None:
    """Write the HTML atomically.

    Raises:
        MachineError: The target cannot be written.
    """
    try:
        write_whole(target, render(page).encode())
    except OSError as error:
        raise MachineError(
            f"The output file must be writable, but '{target}' is not ({error.strerror}); choose another with -o."
        ) from error


def write_images(page: Page, folder: Path) -> None:
    """Write the charts as PNG files into a folder, which is created if necessary.

    Raises:
        MachineError: The folder cannot be written.
    """
    images = chart_images(page)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in images.items():
            write_whole(folder / name, content)
    except OSError as error:
        raise MachineError(
            f"The folder of images must be writable, but '{folder}' is not ({error.strerror}); choose another."
        ) from error


@cache
def _vega() -> str:
    """Return the library that draws the charts as a script; bundling it takes seconds."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle(_GLOBALS, vl_version=VEGA_LITE)
    return bundle.replace("</script", "<\\/script")


def _kind_of(item: Item) -> str:
    return type(item).__name__.lower()
