"""The pages in a real browser, on a real appliance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.browser import chromium, text, wait_for_text
from tests.support.running import Running, running


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An appliance of its own: its first sign-in link is used up here."""
    with running(tmp_path_factory.mktemp("pages") / "data") as started:
        yield started


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path / "profile") as started:
        yield started


def requested_hosts(browser: webdriver.Chrome) -> set[str]:
    """Every host that a page had the browser ask."""
    found = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            address = urlsplit(message["params"]["request"]["url"])
            if address.scheme.startswith("http"):  # the browser's own first page has other schemes
                found.add(address.netloc)
    return found


def test_the_first_sign_in_link_works_once_by_keyboard_and_signs_out_again(
    api: Running, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    assert api.appliance.first_start is not None
    left_behind = api.appliance.settings.data_folder.first_start
    left_behind.write_text("key")
    link = f"{api.appliance.address}/sign-in/{api.appliance.first_start.link_token}"
    browser.get(link)
    browser.switch_to.active_element.send_keys(Keys.ENTER)  # the button has the focus
    wait_for_text(browser, "The service is running")
    assert "smollm2-135m-instruct" in text(browser)
    assert "admin@localhost" in text(browser)
    assert not left_behind.exists()
    cookie = browser.get_cookie("secureai_session")
    assert cookie is not None
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    browser.save_screenshot(str(tmp_path / "welcome.png"))

    browser.get(link)
    wait_for_text(browser, "used already or is too old")

    browser.get(api.appliance.address)
    browser.find_element(By.CSS_SELECTOR, ".top button").click()
    wait_for_text(browser, "Signing in")
    assert "smollm2" not in text(browser)
    assert browser.get_cookie("secureai_session") is None


def test_pages_ask_no_other_host_and_break_no_policy(api: Running, browser: webdriver.Chrome) -> None:
    for path in ("/", "/docs", "/sign-in", "/sign-in/nothing", "/nothing"):
        browser.get(api.appliance.address + path)
        assert browser.find_elements(By.TAG_NAME, "script") == []
        assert browser.find_elements(By.CSS_SELECTOR, "[style], [onclick]") == []
    assert requested_hosts(browser) == {urlsplit(api.appliance.address).netloc}
    # nothing refused by the policy, and only what was asked for in vain is missing
    logged = [entry["message"] for entry in browser.get_log("browser")]
    assert [line for line in logged if "/nothing" not in line] == []


def test_the_documentation_shows_every_route(api: Running, browser: webdriver.Chrome) -> None:
    browser.get(f"{api.appliance.address}/docs")
    shown = text(browser)
    for path in api.ask("GET", "/api/v1/openapi.json").json["paths"]:
        assert path in shown


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
def test_another_sites_page_can_neither_sign_in_nor_out(api: Running, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    for path in ("/sign-in/x", "/sign-out"):
        assert api.ask("POST", path, key=None, headers=headers).status == 403


def test_a_session_cookie_does_not_open_the_api(api: Running) -> None:
    from secureai_appliance.accounts import sessions, users

    with api.appliance.store.transaction() as tx:
        user_id = users.by_email(tx, "admin@localhost").id
        secret = sessions.open_(tx, user_id, "link", sessions.Browser("127.0.0.1", "test"))
    headers = {"Cookie": f"{sessions.COOKIE}={secret}"}
    assert b"smollm2" in api.ask("GET", "/", key=None, headers=headers).body
    assert api.ask("GET", "/api/v1/keys", key=None, headers=headers).status == 401
