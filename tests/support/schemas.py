"""OpenAI's own schemas, to hold our answers against."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parents[1] / "data" / "openai-schemas"


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))


def validate(value: Any, name: str) -> None:
    """Raise unless `value` is what OpenAI's description calls `name`."""
    _validator(name).validate(value)
