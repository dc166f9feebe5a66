"""HTML from the templates beside the program: escaped, without script, nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from secureai_appliance.core import decoding
from secureai_appliance.core.errors import Failure
from secureai_appliance.core.paths import assets
from secureai_appliance.web import static
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import Reply
from secureai_appliance.web.route import Route
from secureai_appliance.web.visitors import visitor

T = TypeVar("T", bound=msgspec.Struct)

HTML = "text/html; charset=utf-8"


def html(template: str, **values: Any) -> str:
    """A filled template. What it names and is not given is a defect, not an empty string."""
    return (
        _environment()
        .get_template(template)
        .render(stylesheet=static.link("site.css"), icon=static.link("icon.svg"), **values)
    )


def page(
    request: Request[Any, Any],
    template: str,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **values: Any,
) -> Answer:
    """A filled template as an answer. Whoever is signed in stands at its top."""
    caller = request.caller_or_none or visitor(request.parts, request.environ)
    return Answer(status, html(template, caller=caller, **values).encode(), HTML, headers or {})


def go(address: str, *cookies: str) -> Answer:
    """Send the browser on to another of our pages (303), with cookies to set."""
    return Answer(303, headers={"Location": address}, cookies=cookies)


def form(request: Request[Any, Any], kind: type[T]) -> T:
    """The fields that a form sent. Raises ValidationError."""
    return decoding.convert(request.form, kind, decoding.FIELD, strict=False)


def wants_page(environ: dict[str, Any], route: Route | None) -> bool:
    """Whether a failure is to be shown to a person: a browser asks, and not for the API."""
    if "text/html" not in environ.get("HTTP_ACCEPT", ""):
        return False
    return route.page if route is not None else not environ.get("PATH_INFO", "").startswith("/api/")


def failure_page(failure: Failure, request_id: str) -> Reply:
    """A failure as a page."""
    headers = {"Content-Type": HTML, **failure.headers}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(failure.retry_after)
    body = html("failure.html", caller=None, status=failure.status, message=failure.message, request_id=request_id)
    return Reply(failure.status, headers, body.encode())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(assets() / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    return environment


def _code(text: str) -> Markup:
    """Text whose `names` are set as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(parts)
    )
