"""Forms: as strict as JSON, and bounded."""

from __future__ import annotations

from typing import Any

import pytest

from secureai_appliance.core.errors import Failure
from secureai_appliance.web import body

FORM = "application/x-www-form-urlencoded"


def decode(raw: bytes, content_type: str = FORM, **environ: Any) -> dict[str, str]:
    return body.decode_form(raw, {"CONTENT_TYPE": content_type, **environ})


def test_a_form_is_names_and_values() -> None:
    assert decode(b"a=1&b=&c=x+y%20%C3%A9&d") == {"a": "1", "b": "", "c": "x y é", "d": ""}
    assert decode(b"a=1", f"{FORM}; charset=UTF-8") == {"a": "1"}
    assert decode(b"", "") == {}


@pytest.mark.parametrize(
    ("raw", "content_type", "status", "constraint"),
    [
        (b"a=1&a=2", FORM, 400, "duplicate"),
        (b"a=%FF", FORM, 400, "encoding"),
        ("a=é".encode(), FORM, 400, "encoding"),
        (b"&".join(b"a%d=1" % n for n in range(51)), FORM, 400, "max_items"),
        (b'{"a": 1}', "application/json", 415, None),
        (b"a=1", "multipart/form-data", 415, None),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(
    raw: bytes, content_type: str, status: int, constraint: str | None
) -> None:
    with pytest.raises(Failure) as refused:
        decode(raw, content_type)
    assert (refused.value.status, refused.value.details.get("constraint")) == (status, constraint)


def test_a_compressed_form_is_refused() -> None:
    with pytest.raises(Failure) as refused:
        decode(b"a=1", HTTP_CONTENT_ENCODING="gzip")
    assert refused.value.status == 415
