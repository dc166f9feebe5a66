"""A real browser, without a screen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.running import PATIENCE

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1200,900",
)


@contextmanager
def chromium(profile: Path, *, dark: bool = False) -> Iterator[webdriver.Chrome]:
    """A browser with an empty profile that keeps its console and network log."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium or its driver is missing: packaging/test.sh installs them")
        pytest.skip("Chromium is not installed: no page was looked at")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={profile}", *(["--force-dark-mode"] if dark else [])):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


def text(browser: webdriver.Chrome) -> str:
    """What the page shows; empty while one page goes and the next comes."""
    shown = browser.execute_script("return document.body ? document.body.innerText : ''")
    assert isinstance(shown, str)
    return shown


def wait_for_text(browser: webdriver.Chrome, awaited: str) -> None:
    """Wait until the page shows `awaited`: a click returns before the page that it asks for is there."""
    leaving = (JavascriptException, StaleElementReferenceException)
    WebDriverWait(browser, PATIENCE, ignored_exceptions=leaving).until(
        lambda now: awaited in text(now), f"the page never showed {awaited!r}"
    )
