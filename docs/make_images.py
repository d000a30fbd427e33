"""Draw the reports that the README shows: `python docs/make_images.py DEMO`, called by `make images`.

DEMO is the folder of a finished demo study. The other report is that of a synthetic study of 300 trials, the same on
every machine.
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.support.browser import opened_page
from tests.support.synthetic_study import synthetic_study
from tuner.report.page.page import write_page
from tuner.report.page.study import study_page
from tuner.study import StoredStudy, StudyPaths

IMAGES = Path(__file__).parent / "images"
WIDTH_PX, HEIGHT_PX = 1400, 1640
SHOWN = ("paired-seeds", "gain", "best-over-cost", "slots")
"""Charts whose sections are in the image; the others are left out, because the page is long."""
COLOURS = 128

_KEEP = """shown => {
  const kept = new Set(shown.map(name => document.getElementById("chart-" + name).closest("section")));
  for (const section of document.querySelectorAll("section")) if (!kept.has(section)) section.remove();
}"""


def main(demo: Path) -> None:
    """Draw both reports."""
    draw_report(StudyPaths(demo.absolute()), IMAGES / "report-demo.png")
    with tempfile.TemporaryDirectory() as folder:
        draw_report(synthetic_study(Path(folder), trials=300, slots=8), IMAGES / "report.png")


def draw_report(paths: StudyPaths, target: Path) -> None:
    """Write the report of a study, open it in a browser, and draw its top."""
    study = StoredStudy.in_folder(paths.root)
    write_page(study_page(study, paths), paths.report)
    study.close()
    with opened_page(width_px=WIDTH_PX) as (page, _):
        page.goto(paths.report.as_uri())
        page.wait_for_function(
            "document.querySelectorAll('.chart').length === document.querySelectorAll('svg.marks').length"
        )
        page.evaluate(_KEEP, list(SHOWN))
        box = page.locator("body").bounding_box()
        assert box is not None
        clip = {"x": box["x"], "y": 0.0, "width": box["width"], "height": float(HEIGHT_PX)}
        shot = page.screenshot(full_page=True, clip=clip)  # type: ignore[arg-type]  # x, y, width, height
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    # Few colours keep the file small; those of the median cut would lose the orange of the default.
    image = image.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
