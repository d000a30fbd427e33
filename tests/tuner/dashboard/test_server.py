"""The dashboard as a process, in a real browser."""

import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from optuna.trial import TrialState

from tests.support.browser import opened_page
from tuner.dashboard.own_notes import MARK

PASSWORD = "correct horse battery"
TIMEOUT_S = 60


@contextlib.contextmanager
def running(home, *arguments, **environment):
    """Run `tune dashboard`. Yield its process and the URL that it prints."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tuner", "dashboard", *arguments, "--home", str(home), "--port", str(port)]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONUNBUFFERED": "1", **environment}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line.startswith("http://"), line + process.stdout.read()
        yield process, line.split()[0]
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(TIMEOUT_S)
        finally:
            process.kill()


def fetched(url):
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_study_is_shown_in_a_browser_without_an_error_or_another_host(tmp_path, left):
    with running(tmp_path, "s") as (process, url), opened_page() as (page, witness):
        page.goto(url)  # the page of the study
        page.wait_for_selector("text=Best Trial (number=1)")
        page.wait_for_selector(".js-plotly-plot .scatterlayer .point")
        assert "0.3" in page.inner_text("body")
        with page.expect_download() as download:
            page.click("[download='params.yaml']")
        assert download.value.path().read_text() == "lr0: 0.1\n"

        page.goto(f"{url}/trials?numbers=2")
        page.wait_for_selector("text=Stopped early")
        assert "early stop at epoch 3" in page.inner_text("body")
        assert "trainer.log" in page.inner_text("body")

        page.goto(f"{url}/note")
        page.click("a:has-text('trial 1')")
        page.wait_for_selector("text=Winner")
        assert witness.hosts() == {"127.0.0.1"}
        assert witness.errors == []
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "", "no line for a request"


@pytest.mark.slow
def test_a_note_is_written_in_a_browser_and_refused_when_read_only(tmp_path, left):
    for arguments, is_kept in (((), True), (("--read-only",), False)):
        with running(tmp_path, "s", *arguments) as (_, url), opened_page() as (page, _):
            page.goto(f"{url}/note")
            page.wait_for_selector(f"text={MARK.strip('# ')}")
            page.click("[data-testid='EditIcon']")
            text = page.locator("textarea").first
            text.fill(f"{text.input_value()}Seen by {'all' if is_kept else 'nobody'}")
            page.click("button:has-text('Save')")
            if not is_kept:
                page.wait_for_selector("text=read-only")
            page.wait_for_timeout(500)
            page.evaluate("window.onbeforeunload = null")
            page.goto(f"{url}/note")
            page.wait_for_selector("text=Seen by all")
            assert "nobody" not in page.inner_text("body")


@pytest.mark.slow
def test_the_report_opens_with_its_charts(tmp_path, left):
    with running(tmp_path, "s") as (_, url), opened_page() as (page, witness):
        page.goto(url)
        path = page.get_attribute("[download='report.html']", "href")
        page.goto(url.partition("/dashboard")[0] + path)
        page.wait_for_selector("svg.marks")
        assert witness.errors == []


def test_a_browser_without_the_password_sees_nothing_and_with_it_everything(tmp_path, left):
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    with running(tmp_path, "s", "--password-file", str(password)) as (_, url):
        assert fetched(url) == 401
        assert fetched(url.partition("/dashboard")[0] + "/api/studies") == 401
        sent = {"Authorization": "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()}
        with opened_page(headers=sent) as (page, _):
            page.goto(url)
            page.wait_for_selector("text=Best Trial (number=1)")


@pytest.mark.slow
def test_the_dashboard_follows_a_running_search(tmp_path, study, filled):
    with running(tmp_path, "s") as (_, url), opened_page() as (page, _):
        page.goto(f"{url}/trials?numbers={filled.running}")
        page.wait_for_selector("text=in training")
        study.finish(filled.running, TrialState.PRUNED, reason="stopped by the test")
        study.flush(10)
        page.wait_for_selector("text=stopped by the test")  # the page asks every ten seconds
