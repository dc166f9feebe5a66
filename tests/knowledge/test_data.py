"""What is language, and what is data written in letters."""

from __future__ import annotations

import base64
import json
import random

import pytest

from secureai_appliance.knowledge.data import is_data

BYTES = random.Random(1).randbytes(600)


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(BYTES).decode(),
        base64.encodebytes(BYTES).decode(),
        BYTES.hex(),
        BYTES.hex(" "),
        "\n".join(f"{n:08x}: {BYTES[n : n + 16].hex(' ', 2)}  ................" for n in range(0, 480, 16)),
        json.dumps({f"key{n}": n for n in range(80)}, separators=(",", ":")),
    ],
    ids=["base64", "lines of base64", "hex", "bytes in hex", "a dump", "minified"],
)
def test_data_is_told(text: str) -> None:
    assert is_data(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Brake fluid is changed every two years, and dead cells are added to a bad facade.",
        "Donaudampfschifffahrtsgesellschaftskapitän Rindfleischetikettierungsüberwachungsaufgabe",
        "Rechtsschutzversicherungsgesellschaften zahlen",
        "制动液每两年更换一次。" * 30,
        "น้ำมันเบรกเปลี่ยนทุกสองปี" * 30,
        "| part | price | stock |\n| --- | --- | --- |\n" + "| 1043 | 12.50 | 17 |\n" * 20,
        "12 4711 0815 99 2020 31 7 1043",
        "def getUserName(self):\n    return self._name.strip()\n" * 5,
        "See https://example.com/manuals/brakes for the manual of the brakes.",
    ],
)
def test_language_tables_and_code_are_no_data(text: str) -> None:
    assert not is_data(text)
