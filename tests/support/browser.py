"""Open pages in a real browser, and record what they request and report."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""Names of the program: Debian's, Ubuntu's, Google's."""


@dataclass(frozen=True, slots=True)
class Witness:
    """Requests and errors of a page while it was open."""

    requests: list[str] = field(default_factory=list)
    """URL of each request, without those that stay inside the page (data:, blob:)."""
    errors: list[str] = field(default_factory=list)
    """Errors and warnings of the console, uncaught exceptions and failed requests."""

    def hosts(self) -> set[str]:
        """Return the requested hosts; files count as the host ''."""
        return {urlsplit(url).hostname or "" for url in self.requests}


@contextmanager
def opened_page(
    *, width_px: int = 1400, height_px: int = 900, dark: bool = False, headers: dict[str, str] | None = None
) -> Iterator[tuple["Page", Witness]]:
    """Open an empty page in headless Chromium; the test is skipped if there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    witness = Witness()
    with sync_playwright() as playwright:
        # Without these, Chromium itself looks for updates, and fails if there is no network.
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=program, args=quiet)
        context = browser.new_context(
            viewport={"width": width_px, "height": height_px},
            color_scheme="dark" if dark else "light",
            extra_http_headers=headers or {},
        )
        page = context.new_page()
        page.on("request", lambda r: None if r.url.startswith(("data:", "blob:")) else witness.requests.append(r.url))
        page.on("requestfailed", lambda r: witness.errors.append(f"failed: {r.url}"))
        page.on("console", lambda m: witness.errors.append(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: witness.errors.append(str(error)))
        yield page, witness
        browser.close()
