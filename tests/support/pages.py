"""A browser's part of the pages: keeps cookies, sends forms with their origin. Calls the application in this thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode

from secureai_appliance.web.gateway import Gateway
from secureai_appliance.web.routes import route_table
from tests.support.web import App, Received

CHEAP = "$argon2id$v=19$m=64,t=1,"
"""How a hash begins that costs next to nothing."""


@dataclass
class Visitor:
    """Somebody at `address` with a browser of their own."""

    app: App
    address: str = "127.0.0.1"
    scheme: str = "http"
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"{self.scheme}://127.0.0.1:8080"

    def get(self, path: str) -> Received:
        return self._call("GET", path, None, {})

    def post(self, path: str, *, origin: str | None = "", **fields: str) -> Received:
        """Send a form. `origin` "": the page's own; None: none is sent."""
        headers = {} if origin is None else {"Origin": origin or self.origin}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return self._call("POST", path, urlencode(fields).encode(), headers)

    def _call(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Received:
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        more = {"REMOTE_ADDR": self.address, "wsgi.url_scheme": self.scheme, "SERVER_PORT": "8080"}
        got = self.app.call(method, path, body, key=None, headers={"Accept": "text/html", **headers}, **more)
        for line in got.cookies:
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return got

    def sign_in(self, email: str, password: str, **fields: str) -> Received:
        return self.post("/sign-in", email=email, password=password, **fields)


def shown(got: Received) -> str:
    """The page's source, for looking for words in it."""
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    return unescape(got.body.decode())


def with_pages(app: App) -> App:
    """The product's own routes on the test's application."""
    app.gateway = Gateway(app.parts, route_table())
    return app
