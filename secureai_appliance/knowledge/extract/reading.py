"""Reading a file in this process. Only the worker's child calls it, because a bad file can end the process."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from secureai_appliance.knowledge.extract import kinds
from secureai_appliance.knowledge.extract.extracted import Draft, Extracted, Limits, Unreadable

_ROOM = "secureai_appliance.knowledge.extract"
# each reader is `read(path, draft, password)`; it is imported when it is needed, since most drag a library along
_READERS = {
    kinds.PDF: "pdf",
    kinds.DOCX: "word",
    kinds.XLSX: "sheets",
    kinds.PPTX: "slides",
    kinds.ODT: "open_document",
    kinds.EPUB: "book",
    kinds.HTML: "html",
    kinds.MARKDOWN: "markdown",
    kinds.TEXT: "plain",
    kinds.CSV: "csv_rows",
    kinds.JSON: "json_values",
    kinds.EML: "mail",
}


def extract(
    path: Path,
    filename: str,
    content_type: str | None = None,
    password: str | None = None,
    *,
    limits: Limits | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Extracted:
    """The text of the file. `on_progress` is told the share that has been read.

    Raises Unreadable. What a library raises about a file is `damaged`; MemoryError and RecursionError are
    `resource_limit`.
    """
    limits = limits or Limits()
    kind = kinds.kind_of(path, filename, content_type, limits)
    draft = Draft(limits, on_progress)
    reader = importlib.import_module(f"{_ROOM}.{_READERS[kind]}")
    try:
        reader.read(path, draft, password)
    except Unreadable:
        raise
    except (MemoryError, RecursionError) as cause:
        raise Unreadable("resource_limit", "Reading the file takes more memory than is allowed.") from cause
    except Exception as cause:
        # a library may raise anything about a file that is not what it says it is
        raise Unreadable("damaged", "The file is damaged, or not what its name says.") from cause
    return draft.finish(kind)
