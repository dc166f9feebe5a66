"""An account from end to end in a real browser, by keyboard alone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from secureai_appliance.accounts import passwords, users
from tests.support.browser import chromium, text, wait_for_text
from tests.support.running import Running, running
from tests.support.totp import code_of

ADA, PASSWORD = "ada@example.org", "correct horse battery"
_TABS = 60


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("keyboard") / "data") as started:
        yield started


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path / "profile") as started:
        yield started


def press(browser: webdriver.Chrome, *keys: str) -> None:
    browser.switch_to.active_element.send_keys(*keys)


def tab_to(browser: webdriver.Chrome, selector: str) -> None:
    """Press Tab until the focus is there."""
    for _ in range(_TABS):
        if browser.execute_script("return document.activeElement.matches(arguments[0])", selector):
            return
        press(browser, Keys.TAB)
    pytest.fail(f"{_TABS} tabs do not lead to {selector}")


def sign_in(browser: webdriver.Chrome, address: str) -> None:
    browser.get(f"{address}/account")
    wait_for_text(browser, "E-mail address")
    press(browser, ADA, Keys.TAB)  # the first field has the focus
    press(browser, PASSWORD, Keys.ENTER)


def test_password_second_factor_sign_out_code_and_account_by_keyboard(api: Running, browser: webdriver.Chrome) -> None:
    with api.appliance.store.transaction() as tx:
        users.create(tx, email=ADA, name="Ada", role="user", password_hash=passwords.hash_password(PASSWORD))
    sign_in(browser, api.appliance.address)
    wait_for_text(browser, "Your account")
    tab_to(browser, 'form[action="/account/second-factor"] button')
    press(browser, Keys.ENTER)
    wait_for_text(browser, "Secret:")
    found = re.search(r"Secret: ([A-Z2-7]{32})", text(browser))
    assert found is not None
    tab_to(browser, "#code")
    press(browser, code_of(found[1], time.time()), Keys.ENTER)
    wait_for_text(browser, "The second factor is on")
    tab_to(browser, ".top form button")
    press(browser, Keys.ENTER)
    wait_for_text(browser, "Signing in")

    sign_in(browser, api.appliance.address)
    wait_for_text(browser, "One more step")
    # the next code: the last one was taken
    press(browser, code_of(found[1], time.time() + 30), Keys.ENTER)
    wait_for_text(browser, "10 recovery codes are left")
    tab_to(browser, "#name")
    press(browser, "by keyboard", Keys.ENTER)
    wait_for_text(browser, "It is shown this once")
    assert re.search(r"sk-\w{40}", text(browser))
