"""PPTX, by python-pptx: slides are pages, with tables, charts and the speaker's notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pptx
from pptx.enum.shapes import MSO_SHAPE_TYPE

from secureai_appliance.knowledge.extract.extracted import Draft


def read(path: Path, draft: Draft, password: str | None = None) -> None:
    """The title of a slide is a heading; shapes come from top to bottom, notes at the end of the slide."""
    deck = pptx.Presentation(str(path))
    facts = deck.core_properties
    draft.describe(
        title=facts.title, author=facts.author, subject=facts.subject, created=facts.created, modified=facts.modified
    )
    draft.page_count = len(deck.slides)
    for number, slide in enumerate(deck.slides, 1):
        draft.page = number
        title = slide.shapes.title
        draft.heading(title.text_frame.text if title is not None else "", 1)
        for shape in _in_order(slide.shapes):
            if title is None or shape.shape_id != title.shape_id:
                _shape(shape, draft)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            draft.paragraph(slide.notes_slide.notes_text_frame.text)
        draft.done(number / draft.page_count)


def _in_order(shapes: Iterable[Any]) -> Iterator[Any]:
    for shape in sorted(shapes, key=lambda each: (each.top or 0, each.left or 0)):
        if shape.shape_type == MSO_SHAPE_TYPE.GROUP:
            yield from _in_order(shape.shapes)
        else:
            yield shape


def _shape(shape: Any, draft: Draft) -> None:
    if getattr(shape, "has_table", False):
        draft.table([[cell.text for cell in row.cells] for row in shape.table.rows])
    elif getattr(shape, "has_chart", False):
        _chart(shape.chart, draft)
    elif shape.has_text_frame:
        lines = [paragraph.text for paragraph in shape.text_frame.paragraphs]
        draft.paragraph("\n".join(lines))


def _chart(chart: Any, draft: Draft) -> None:
    if chart.has_title:
        draft.paragraph(chart.chart_title.text_frame.text)
    for plot in chart.plots:
        names = [str(category) for category in plot.categories]
        series = list(plot.series)
        rows = [["", *(each.name for each in series)]]
        values = [list(each.values) for each in series]
        rows += [
            [name, *(f"{column[index]:g}" if index < len(column) and column[index] is not None else ""
                     for column in values)]
            for index, name in enumerate(names)
        ]  # fmt: skip
        draft.table(rows)
