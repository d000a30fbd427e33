"""Open a page from disk, offline, in print and on any screen. It trusts no text."""

import base64
import re
from html import escape

import altair
import pytest
import vl_convert
from jsonschema import ValidationError

from tests.support.browser import opened_page
from tests.support.synthetic_study import synthetic_study
from tuner.report.page.charts.style import IMAGE, PAGE
from tuner.report.page.content import Chart, Details, Image, Page, Paragraph, Section, Table, Text
from tuner.report.page.page import VEGA_LITE, chart_images, render, write_images, write_page
from tuner.report.page.study import study_page
from tuner.study import StoredStudy

TAG = "<script>alert(1)</script>"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ALL_DRAWN = "document.querySelectorAll('.chart').length === document.querySelectorAll('svg.marks').length"


@pytest.fixture(scope="module")
def page(finished_paths):
    study = StoredStudy.in_folder(finished_paths.root)
    yield study_page(study, finished_paths)
    study.close()


@pytest.fixture(scope="module")
def written(page, tmp_path_factory):
    target = tmp_path_factory.mktemp("page") / "report.html"
    write_page(page, target)
    return target


def test_the_version_of_vega_lite_is_that_of_altairs_schema_and_is_bundled():
    assert altair.SCHEMA_VERSION.startswith(f"v{VEGA_LITE}.")
    assert VEGA_LITE in vl_convert.get_vegalite_versions()


def test_every_kind_of_item_is_rendered_and_all_text_is_escaped():
    items = (
        Table(header=("name", "value"), rows=((TAG, "1.5"),), numbers=frozenset({1}), title="numbers"),
        Image(content=PIXEL, media_type="image/png", alt=TAG, caption="a pixel"),
        Text(content=TAG, title="log"),
        Paragraph(text=TAG, is_warning=True),
        Details(summary=TAG, items=(Text(content="folded"),)),
    )
    html = render(Page(title=TAG, headline=TAG, lead="", sections=(Section(title=TAG, note=TAG, items=items),)))

    assert "<script>alert(1)" not in html
    assert html.count(escape(TAG)) == 10
    assert '<td class="number">1.5</td>' in html
    assert f'src="data:image/png;base64,{base64.b64encode(PIXEL).decode()}"' in html
    assert "<pre>folded</pre>" in html


def test_text_in_a_chart_cannot_end_the_script_that_holds_it():
    chart = Chart(name="c", draw=lambda style: {"description": TAG, "mark": "point", "data": {"values": []}})
    html = render(Page(title="", headline="", lead="", sections=(Section(title="", note="", items=(chart,)),)))

    assert "<script>alert(1)" not in html


def test_the_page_has_every_section_that_a_finished_study_can_have(page):
    assert [chart.name for chart in page.charts() if not chart.name.startswith("slice")] == [
        "paired-seeds", "gain", "best-over-cost", "importance", "parallel", "curves", "costs", "slots", "endings",
        "final-run-losses", "final-run-metrics",
    ]  # fmt: skip
    assert sum(chart.name.startswith("slice") for chart in page.charts()) >= 6


@pytest.mark.parametrize(("width_px", "dark"), [(1400, False), (400, True)])
def test_every_chart_is_drawn_without_a_request_or_an_error_at_any_width(written, width_px, dark):
    with opened_page(width_px=width_px, dark=dark) as (shown, witness):
        shown.goto(written.as_uri())
        shown.wait_for_function(ALL_DRAWN)
        for details in shown.locator("details").all():
            details.locator("summary").first.click()
        boxes = "[...document.querySelectorAll('svg.marks')].map(svg => svg.getBoundingClientRect())"
        widths = shown.evaluate(f"{boxes}.map(box => [box.width, box.right])")
        mark = shown.locator("#chart-endings svg path[aria-roledescription=bar]").first
        mark.hover()
        tooltip = shown.locator("#vg-tooltip-element.visible")
        tooltip.wait_for()

        assert "trials" in tooltip.inner_text()
        assert shown.evaluate("document.documentElement.scrollWidth") == width_px
        assert all(width > 150 and right <= width_px for width, right in widths)
        assert witness.requests == [written.as_uri()]
        assert witness.errors == []


def test_print_shows_all_charts_whole_and_opens_folded_sections(written):
    with opened_page(dark=True) as (shown, witness):
        shown.goto(written.as_uri())
        shown.wait_for_function(ALL_DRAWN)
        paper = shown.pdf(format="A4")
        shown.emulate_media(media="print")
        shown.set_viewport_size({"width": 718, "height": 1000})  # A4 between Chromium's margins

        assert len(re.findall(rb"/Type /Page\b", paper)) > 3
        assert shown.evaluate("[...document.querySelectorAll('details')].every(details => details.open)")
        cut = "[...document.querySelectorAll('.chart-item')].filter(c => getComputedStyle(c).breakInside !== 'avoid')"
        assert shown.evaluate(f"{cut}.length") == 0
        wide = "[...document.querySelectorAll('svg.marks')].filter(s => s.getBoundingClientRect().right > 718)"
        assert shown.evaluate(f"{wide}.length") == 0
        assert shown.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
        assert witness.errors == []


def test_the_page_forbids_itself_what_it_does_not_need(written):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', written.read_text(encoding="utf-8"))[1]

    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy


def test_every_chart_can_be_exported_as_an_image(page, tmp_path):
    write_images(page, tmp_path / "images")

    images = {path.stem: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    assert set(images) == {chart.name for chart in page.charts()}
    for content in images.values():
        assert content.startswith(b"\x89PNG")
        assert int.from_bytes(content[16:20], "big") > 1000  # width in pixels


def test_every_chart_is_valid_vega_lite(page):
    charts = list(page.charts())
    assert len(charts) > 10
    for chart in charts:
        altair.Chart.from_dict(chart.draw(PAGE), validate=True)
    with pytest.raises(ValidationError):
        altair.Chart.from_dict({**charts[0].draw(PAGE), "width": [1]}, validate=True)


def test_images_do_not_take_the_colours_of_the_page(page):
    for chart in page.charts():
        assert "var(--" not in str(chart.draw(IMAGE))


def test_a_page_without_charts_is_a_page(tmp_path):
    empty = Page(title="s", headline="No trial has started yet.", lead="", sections=())

    assert "No trial has started yet." in render(empty)
    assert chart_images(empty) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("trials", "slots"), [(300, 8), (1000, 16)])
def test_the_page_of_a_large_study_stays_small_and_is_drawn(tmp_path, trials, slots):
    paths = synthetic_study(tmp_path, trials=trials, slots=slots)
    study = StoredStudy.in_folder(paths.root)
    write_page(study_page(study, paths), paths.report)
    study.close()

    assert paths.report.stat().st_size < 6 * 2**20
    with opened_page() as (shown, witness):
        shown.goto(paths.report.as_uri())
        shown.wait_for_function(ALL_DRAWN, timeout=60_000)
        assert witness.errors == []
