"""EPUB, by EbookLib: the chapters in the order of the spine."""

from __future__ import annotations

from pathlib import Path

import ebooklib
from ebooklib import epub

from secureai_appliance.knowledge.extract import html, plain
from secureai_appliance.knowledge.extract.extracted import Draft


def read(path: Path, draft: Draft, password: str | None = None) -> None:
    """Chapters are pages of HTML; the table of contents is not read."""
    book = epub.read_epub(str(path), options={"ignore_ncx": True})
    for name, field in (("title", "title"), ("author", "creator"), ("created", "date"), ("language", "language")):
        values = book.get_metadata("DC", field)
        draft.describe(**{name: values[0][0] if values else None})
    spine = [entry[0] if isinstance(entry, tuple) else entry for entry in book.spine]
    metadata = dict(draft.metadata)
    for number, identifier in enumerate(spine, 1):
        item = book.get_item_with_id(identifier)
        if item is None or item.get_type() != ebooklib.ITEM_DOCUMENT or isinstance(item, epub.EpubNav):
            continue
        html.write(plain.decoded_bytes(item.content), draft, whole=True)
        draft.done(number / len(spine))
    draft.metadata = metadata
