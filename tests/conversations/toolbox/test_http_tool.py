from __future__ import annotations

from typing import Any

import pytest

from secureai_appliance.conversations.toolbox import http_tool
from secureai_appliance.conversations.toolbox.failures import ToolFailure

URL = "https://parts.example.org/v1/cars/{car}/parts?kind={kind}&page={page}"


def test_arguments_go_into_path_and_query_escaped_and_the_rest_follows() -> None:
    made = http_tool.prepare("GET", URL, None, {"car": "a/b?c#d", "kind": "br&ke", "n": 2, "ok": True})
    assert made.url == "https://parts.example.org/v1/cars/a%2Fb%3Fc%23d/parts?kind=br%26ke&n=2&ok=true"
    assert made.body is None


def test_an_argument_goes_to_each_of_its_places() -> None:
    url = "https://parts.example.org/{a}/of/{a}?first={a}&again={a}&gone={b}&{c}={c}"
    made = http_tool.prepare("GET", url, None, {"a": "x y", "b": None, "c": 1, "d": 2})
    assert made.url == "https://parts.example.org/x%20y/of/x%20y?first=x%20y&again=x%20y&1=1&d=2"


@pytest.mark.parametrize("car", ["", ".", "..", None])
def test_no_argument_leads_to_another_path(car: str | None) -> None:
    with pytest.raises(ToolFailure):
        http_tool.prepare("GET", URL, None, {"car": car})


@pytest.mark.parametrize(
    "url", ["{a}://parts.example.org/", "https://{a}/x", "https://x.{a}.org", "https://x:{a}/", "https://{a}?q=1"]
)
def test_scheme_and_host_are_never_an_arguments(url: str) -> None:
    with pytest.raises(ValueError, match="placeholders"):
        http_tool.places(url)


def test_what_is_left_is_the_body_and_a_template_keeps_types_and_quotes() -> None:
    assert http_tool.prepare("POST", "https://x.org/{a}", None, {"a": "1", "b": [2]}).body == b'{"b":[2]}'
    template: dict[str, Any] = {"text": "say {{a}}", "list": ["{{b}}"], "none": "{{c}}", "n": 1}
    made = http_tool.prepare("POST", "https://x.org/", template, {"a": '"}, {"x": "', "b": [2, None]})
    assert made.body == b'{"text":"say \\"}, {\\"x\\": \\"","list":[[2,null]],"none":null,"n":1}'


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (302, "text/html", "redirect"),
        (404, "text/plain", "refused"),
        (500, "", "server_error"),
        (200, "image/png", "not_text"),
    ],
)
def test_what_is_no_answer_in_text_is_a_failure(status: int, kind: str, code: str) -> None:
    with pytest.raises(ToolFailure) as failure:
        http_tool.read(status, {"content-type": kind}, b"x")
    assert failure.value.code == code


def test_text_is_read_whatever_bytes_are_in_it() -> None:
    assert http_tool.read(200, {"content-type": "application/vnd.parts+json; x=y"}, b'{"a":1}') == '{"a":1}'
    assert http_tool.read(200, {}, b"\xff ok") == "\ufffd ok"
    assert http_tool.read(204, {"content-type": "image/png"}, b"") == ""


@pytest.mark.parametrize(
    ("charset", "body"),
    [
        ("iso-8859-1", b"Bremsbel\xe4ge"),
        ('"Windows-1252"', b"Bremsbel\xe4ge"),
        ("utf-8", "Bremsbeläge".encode()),
        ("nonsense", "Bremsbeläge".encode()),
        ("hex", "Bremsbeläge".encode()),
        ("unicode_escape", "Bremsbeläge".encode()),
    ],
)
def test_the_charset_that_a_server_names_counts(charset: str, body: bytes) -> None:
    assert http_tool.read(200, {"content-type": f"text/plain; charset={charset}"}, body) == "Bremsbeläge"


def test_an_answer_in_a_coding_that_nobody_asked_for_is_no_text() -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    with pytest.raises(ToolFailure, match="coding"):
        http_tool.read(200, headers, b"\x1f\x8b\x08\x00")
    assert http_tool.read(204, headers, b"") == ""
    assert http_tool.read(200, {**headers, "content-encoding": "identity"}, b"{}") == "{}"
