"""Markdown (CommonMark and tables)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from secureai_appliance.knowledge.extract import plain
from secureai_appliance.knowledge.extract.extracted import Draft

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?\n)(?:---|\.\.\.)\s*(?:\n|\Z)", re.S)
_FACT = re.compile(r"^(title|author|date|description)\s*:\s*(.+)$", re.M | re.I)


def read(path: Path, draft: Draft, password: str | None = None) -> None:
    """Headings, paragraphs, lists, tables and code, without the marks of emphasis and links."""
    text = plain.decoded(path, draft)
    front = _FRONT_MATTER.match(text)
    if front:
        draft.describe(**{name.lower(): value.strip(" '\"") for name, value in _FACT.findall(front.group(1))})
        text = text[front.end() :]
    write(text, draft)


def write(text: str, draft: Draft) -> None:
    """Put Markdown into the draft."""
    tokens = iter(MarkdownIt("commonmark").enable("table").parse(text))
    depth = 0
    items: list[str] = []
    for token in tokens:
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            depth += 1
        elif token.type in {"bullet_list_close", "ordered_list_close"}:
            depth -= 1
            if depth == 0:
                draft.paragraph("\n".join(items))
                items = []
        elif token.type == "heading_open":
            draft.heading(_text_of(next(tokens)), int(token.tag[1:]))
        elif token.type == "inline":
            if depth:
                items.append("- " + _text_of(token))
            else:
                draft.paragraph(_text_of(token))
        elif token.type in {"fence", "code_block"}:
            draft.code(token.content)
        elif token.type == "html_block":
            draft.paragraph(re.sub(r"<!--.*?-->|<[^>]*>", " ", token.content, flags=re.S))
        elif token.type == "table_open":
            draft.table(_rows(tokens))


def _rows(tokens: Iterator[Token]) -> Iterator[list[str]]:
    row: list[str] = []
    for token in tokens:
        if token.type == "inline":
            row.append(_text_of(token))
        elif token.type == "tr_close":
            yield row
            row = []
        elif token.type == "table_close":
            return


def _text_of(token: Token) -> str:
    parts = []
    for child in token.children or []:
        if child.type in {"softbreak", "hardbreak"}:
            parts.append("\n")
        elif child.type == "image":
            parts.append(_text_of(child))
        elif child.type != "html_inline":
            parts.append(child.content)
    return "".join(parts)
