"""The consent and device pages in a real browser: by keyboard, with nothing from elsewhere, under the strict policy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from secureai_appliance.accounts import sessions, users
from tests.support.browser import chromium, text, wait_for_text
from tests.support.oauth import DEVICE_CODE, OAuthClient, register
from tests.support.running import Running, running


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("oauth-pages") / "data") as started:
        yield started


@pytest.fixture(scope="module")
def browser(api: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Signed in as the administrator."""
    with chromium(tmp_path_factory.mktemp("oauth-profile")) as started:
        with api.appliance.store.transaction() as tx:
            token = sessions.create_link(tx, users.by_email(tx, "admin@localhost").id)
        started.get(f"{api.appliance.address}/sign-in/{token}")
        started.find_element(By.CSS_SELECTOR, "main button").click()
        wait_for_text(started, "The service is running")
        yield started


class Program(BaseHTTPRequestHandler):
    """What listens where the browser is sent back to."""

    came: ClassVar[list[dict[str, list[str]]]] = []

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        if target.path == "/callback":
            self.came.append(parse_qs(target.query))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Notes</title><p>You are back at the program")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def client(api: Running) -> Iterator[OAuthClient]:
    server = HTTPServer(("127.0.0.1", 0), Program)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made = register(api, name="Notes <b>", redirect_uris=["http://127.0.0.1/callback"])
    made.redirect_uri = f"http://127.0.0.1:{server.server_port}/callback"
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_user_allows_a_program_by_keyboard_and_is_sent_back_with_a_code(
    api: Running, browser: webdriver.Chrome, client: OAuthClient, tmp_path: Path
) -> None:
    browser.get(api.appliance.address + client.authorize_url())
    wait_for_text(browser, "Allow “Notes <b>” to act for you?")
    shown = text(browser)
    assert "Ask a model for a completion" in shown
    assert "admin@localhost" in shown
    assert client.redirect_uri in shown
    browser.save_screenshot(str(tmp_path / "consent.png"))
    assert browser.find_elements(By.CSS_SELECTOR, "script, [style], [onclick]") == []
    browser.find_element(By.CSS_SELECTOR, "button[value=allow]").send_keys(Keys.ENTER)
    wait_for_text(browser, "You are back at the program")
    came = Program.came[-1]
    assert came["state"] == ['a"b\\c d']
    assert client.redeem(came["code"][0]).status == 200
    assert [entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]] == []


def test_a_user_denies_a_program(api: Running, browser: webdriver.Chrome, client: OAuthClient) -> None:
    browser.get(api.appliance.address + client.authorize_url())
    browser.find_element(By.CSS_SELECTOR, "button[value=deny]").click()
    wait_for_text(browser, "You are back at the program")
    assert Program.came[-1]["error"] == ["access_denied"]


def test_a_user_enters_the_code_of_a_device_and_allows_it(api: Running, browser: webdriver.Chrome) -> None:
    device = register(api, name="Wall display", public=True, grant_types=[DEVICE_CODE], redirect_uris=[])
    begun = device.post("/oauth/device_authorization", {}).json
    browser.get(begun["verification_uri"])
    browser.switch_to.active_element.send_keys(begun["user_code"].lower(), Keys.ENTER)
    wait_for_text(browser, "Wall display")
    browser.find_element(By.CSS_SELECTOR, "button[value=allow]").click()
    wait_for_text(browser, "is connected")
    made = device.post("/oauth/token", {"grant_type": DEVICE_CODE, "device_code": begun["device_code"]})
    assert made.status == 200
