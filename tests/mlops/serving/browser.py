"""A real browser over the page; tests that need one are skipped where there is none."""

import shutil
from contextlib import contextmanager

import pytest
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60


@contextmanager
def page_of(width, height=900, *, dark=False):
    """Open a page of a browser; fails when it logs an error, or asks anybody but the service."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is here: install one of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        context.set_default_timeout(SECONDS * 1000)
        page = context.new_page()
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
        page.on("request", lambda one: _is_own(one.url) or wrong.append(one.url))
        try:
            yield page, wrong
        finally:
            browser.close()


def _is_own(url):
    return url.startswith(("http://127.0.0.1:", "blob:", "data:"))
