"""HTML from the templates beside the program: escaped, without script, nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from secureai_appliance.core.paths import assets
from secureai_appliance.web import static
from secureai_appliance.web.answers import Answer

HTML = "text/html; charset=utf-8"


def html(template: str, **values: Any) -> str:
    """A filled template. What it names and is not given is a defect, not an empty string."""
    return (
        _environment()
        .get_template(template)
        .render(stylesheet=static.link("site.css"), icon=static.link("icon.svg"), **values)
    )


def page(template: str, *, status: int = 200, headers: dict[str, str] | None = None, **values: Any) -> Answer:
    """A filled template as an answer."""
    return Answer(status, html(template, **values).encode(), HTML, headers or {})


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
