"""JSON, and JSON of one value a line: lists of objects are tables, all else is named by its path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from secureai_appliance.knowledge.extract import plain
from secureai_appliance.knowledge.extract.extracted import Draft, Unreadable

_WIDEST = 40


def read(path: Path, draft: Draft, password: str | None = None) -> None:
    """Members with text become paragraphs `name: value` under headings; uniform lists become tables."""
    text = plain.decoded(path, draft)
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        try:
            value = [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError as cause:
            raise Unreadable("damaged", "The file is damaged: it is not JSON.") from cause
    _write(value, draft, level=1)


def _write(value: Any, draft: Draft, level: int) -> None:
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        _objects(value, draft, level)
    elif isinstance(value, dict) and any(isinstance(each, (dict, list)) for each in value.values()):
        flat = {name: each for name, each in value.items() if not isinstance(each, (dict, list))}
        draft.paragraph("\n".join(_lines(flat)))
        for name, each in value.items():
            if isinstance(each, (dict, list)):
                draft.heading(str(name), level)
                _write(each, draft, level + 1)
    else:
        draft.paragraph("\n".join(_lines(value)))


def _objects(objects: list[dict[str, Any]], draft: Draft, level: int) -> None:
    names = list(dict.fromkeys(name for each in objects for name in each))
    flat = not any(isinstance(member, (dict, list)) for each in objects for member in each.values())
    if flat and len(names) <= _WIDEST:
        draft.table([names, *([_shown(each.get(name)) for name in names] for each in objects)])
        return
    for number, each in enumerate(objects):
        draft.paragraph("\n".join(_lines(each)))
        if number % 1000 == 0:
            draft.done(number / len(objects))


def _lines(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _lines(each, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        if all(not isinstance(each, (dict, list)) for each in value):
            value = ", ".join(map(_shown, value))
            yield f"{path}: {value}" if path else value
        else:
            for number, each in enumerate(value):
                yield from _lines(each, f"{path}[{number}]")
    else:
        yield f"{path}: {_shown(value)}" if path else _shown(value)


def _shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
