"""Open the pages in a real browser."""

import contextlib

import pytest

from tests.support.browser import opened_page
from tests.support.team_service import SPACE, TIMEOUT_S, running_team
from tests.tuner.conftest import SPACE as SMALL
from tests.tuner.conftest import driven, play
from tuner.contract import EndRecord, Outcome
from tuner.search.search import Search
from tuner.space import parse_space
from tuner.study import StudyPaths
from tuner.study_queue.entries import State, Submission

EVIL = "<img src=x onerror=window.hit=1>'\"><script>window.hit=1</script>"


@contextlib.contextmanager
def logged_in(team, user, **options):
    """Log a user in by the form. Return the page."""
    with opened_page(**options) as (page, witness):
        page.set_default_timeout(TIMEOUT_S * 1000)
        page.goto(f"{team.url}/")
        page.fill("#token", team.tokens[user])
        page.click("button.main")
        page.wait_for_selector("h1:has-text('Studies')")
        yield page, witness


@contextlib.contextmanager
def recording(home, name, spec, terms):
    """Drive a study in this process. Yield it, and a function that records its next trial with a value."""
    paths = StudyPaths.of(home, name)
    paths.create()
    space = parse_space(SMALL, name="small", file="small.yaml")
    with driven(f"sqlite:///{paths.database}", spec, paths, name) as study:
        search = Search(study, space, paths, terms)

        def record(value):
            play(search, search.suggest(), value / 2, value)
            study.flush(TIMEOUT_S)

        yield record


def test_a_study_is_checked_submitted_watched_and_stopped(empty_team, spec, terms):
    with logged_in(empty_team, "bob") as (page, witness):
        page.click("nav >> text=Submit")
        page.fill("#study", "mine")
        page.fill("#data", "sample")
        page.fill("#space", SPACE.replace("lr0: {", "lr00: {", 1))
        page.click("button[value=check]")
        page.wait_for_selector(".problems >> text=did you mean lr0?")
        assert page.inner_text(".problems a >> nth=0") == "line 7"
        page.fill("#space", SPACE)
        page.click("button[value=check]")
        page.wait_for_selector("text=Estimate for 6 trials")
        page.click("button[value=submit]")
        page.wait_for_selector("h1:has-text('mine')")
        assert page.inner_text("[data-field=state]") == "queued"

        (entry,) = empty_team.table.entries()
        assert (entry.submission.owner, entry.submission.space) == ("bob", SPACE)
        empty_team.table.change(entry, state=State.RUNNING.value, granted=2)
        page.wait_for_selector("[data-field=state]:has-text('running')")
        assert page.inner_text("[data-field=gpus]") == "2 of all"
        with recording(empty_team.home, "mine", spec, terms) as record:
            record(0.25)
            page.wait_for_selector("[data-field=best]:has-text('0.2500')")
            record(0.5)
            page.wait_for_selector("[data-field=best]:has-text('0.5000')")
            page.wait_for_selector("[data-field=epochs]:has-text('18')")

        page.goto(f"{empty_team.url}/")
        assert "0.5000" in page.inner_text("[data-study=mine]")
        page.click("text=mine")
        page.click("text=Stop")
        page.wait_for_selector("[data-field=state]:has-text('stopping')")
        assert empty_team.table.entries()[0].is_stopping
        page.click("text=Log out")
        page.wait_for_selector("#token")
        assert witness.hosts() == {"127.0.0.1"}
        assert [error for error in witness.errors if not error.startswith("failed:")] == [], "but what a click cut off"


def test_the_report_and_the_comparison_are_shown_within_the_page_and_reach_nothing(team):
    with logged_in(team, "eve") as (page, witness):
        page.goto(f"{team.url}/studies/bobs")
        page.locator("iframe").scroll_into_view_if_needed()
        frame = page.frame_locator("iframe")
        frame.locator(".verdict").wait_for()
        frame.locator(".chart svg").first.wait_for()
        inner = page.frames[-1]
        assert inner.evaluate("window.origin") == "null"
        assert inner.evaluate("(() => { try { return document.cookie } catch (e) { return e.name } })()") in (
            "", "SecurityError"
        )  # fmt: skip
        answer = inner.evaluate("fetch('/api/v1/me').then(() => 'reached', () => 'refused')")
        assert answer == "refused"
        page.goto(f"{team.url}/compare?study=bobs&study=cats")
        page.frame_locator("iframe").locator("text=Comparison of 2 studies").wait_for()
        assert all("Content Security Policy" in error or "/api/v1/me" in error for error in witness.errors)


def test_text_of_users_and_trainers_is_shown_and_never_run(empty_team, spec, terms):
    entry = empty_team.table.add(Submission(study="mine", owner=EVIL, space_name=EVIL, space=SPACE))
    empty_team.table.change(entry, state=State.FAILED.value, message=EVIL)
    paths = StudyPaths.of(empty_team.home, "mine")
    paths.create()
    space = parse_space(SMALL, name="small", file="small.yaml")
    with driven(f"sqlite:///{paths.database}", spec, paths, "mine") as study:
        search = Search(study, space, paths, terms)
        search.report(search.suggest().trial, EndRecord(outcome=Outcome.ERROR, message=EVIL))
        study.flush(TIMEOUT_S)
    with logged_in(empty_team, "ann") as (page, witness):
        for path in (
            "/",
            "/studies/mine",
            "/compare",
            "/submit?from=" + EVIL,
            "/studies/" + EVIL,
            "/login?next=" + EVIL,
        ):
            page.goto(f"{empty_team.url}{path}")
            page.wait_for_timeout(200)
            assert page.evaluate("window.hit") is None, path
        page.goto(f"{empty_team.url}/studies/mine")
        text = page.inner_text("body")
        assert text.count("<script>window.hit=1</script>") >= 3, "owner, message and reason"
        page.goto(f"{empty_team.url}/submit")
        page.fill("#study", "x")
        page.fill("#space", f"{EVIL}: 1\n")
        page.click("button[value=check]")
        page.wait_for_selector(".problems")
        assert page.evaluate("window.hit") is None
        assert not any("Content Security Policy" in error for error in witness.errors), "nothing even tried"


def test_the_pages_can_be_read_and_used_without_javascript(empty_team):
    empty_team.submitted("mine", "bob")
    with empty_team.browser("bob") as browser:
        page = browser.get("/studies/mine").text
        key = page.partition('name="csrf" value="')[2].partition('"')[0]
        assert "queued" in page
        fields = {"csrf": key, "study": "second", "data": "sample", "space": SPACE, "gpus": "2", "promote": "on"}
        checked = browser.post("/submit", data={**fields, "action": "check"})
        assert "Estimate for 6 trials on 2 slots" in checked.text
        wrong = browser.post("/submit", data={**fields, "action": "submit", "gpus": "many", "space": "x: 1"})
        assert (wrong.status_code, "<b>gpus</b>" in wrong.text) == (422, True)
        assert browser.post("/submit", data={**fields, "action": "submit"}).headers["location"] == "/studies/second"
        assert browser.post("/studies/second/stop", data={"csrf": key}).headers["location"] == "/studies/second"
        assert "stopped" in browser.get("/studies/second").text


@pytest.mark.parametrize("dark", [False, True])
def test_no_page_is_wider_than_a_phone(team, dark):
    with logged_in(team, "ann", width_px=390, height_px=800, dark=dark) as (page, _):
        for path in ("/", "/studies/bobs", "/submit?from=quick", "/compare?study=bobs&study=cats", "/nothing"):
            page.goto(f"{team.url}{path}")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path


def test_the_dashboard_works_behind_the_login(team):
    with logged_in(team, "eve") as (page, witness):
        page.click("text=Dashboard")
        page.click("text=bobs")
        page.wait_for_selector(".js-plotly-plot .scatterlayer .point")
        assert witness.hosts() == {"127.0.0.1"}
        assert [error for error in witness.errors if "failed:" not in error] == []


@pytest.mark.slow
def test_a_private_page_never_names_a_study_of_another_user(tmp_path, template):
    from tests.tuner.team_service.conftest import filled

    with running_team(tmp_path / "home", is_private=True) as team:
        filled(team, template)
        with logged_in(team, "cat") as (page, _):
            for path in ("/", "/compare", "/studies/cats", "/studies/bobs", "/submit", "/dashboard"):
                page.goto(f"{team.url}{path}")
                assert "bobs" not in page.content().replace("/studies/bobs", "")
