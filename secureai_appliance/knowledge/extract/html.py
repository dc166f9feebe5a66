"""HTML: the content of a page, without navigation, headers, footers and advertisements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lxml import etree
from lxml import html as lxml_html

from secureai_appliance.knowledge.extract import plain
from secureai_appliance.knowledge.extract.extracted import Draft, Unreadable

_NEVER = {
    "script", "style", "noscript", "template", "svg", "math", "iframe", "object", "canvas", "button", "select",
    "input", "textarea", "head", "audio", "video", "dialog",
}  # fmt: skip
_AROUND = {"nav", "aside", "footer", "form", "menu"}
_AROUND_ROLES = {"navigation", "banner", "contentinfo", "complementary", "search", "menu", "menubar", "dialog"}
_AROUND_NAMES = re.compile(
    r"(^|[\s_-])(nav\w*|menu\w*|side-?bar\w*|footer|bread-?crumbs?|cookies?|advert\w*|ads?|share|social|newsletter|banner"
    r"|toc|skip|jump\w*|catlinks|editsection|noprint|pagination|portlet|masthead)($|[\s_-])",
    re.IGNORECASE,
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = {
    "p", "div", "section", "article", "main", "body", "blockquote", "ul", "ol", "dl", "dd", "dt", "li", "figure",
    "figcaption", "header", "address", "details", "summary", "center", "fieldset", "hr", "html", "td", "th", "caption",
}  # fmt: skip
_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", re.IGNORECASE)
_XML_ENCODING = re.compile(r"^\s*<\?xml[^>]*\?>")
_MOST_COLUMNS = 400


def read(path: Path, draft: Draft, password: str | None = None) -> None:
    """Headings, paragraphs, lists, tables and code of the page's main content."""
    if path.stat().st_size > draft.limits.characters * 4:
        raise Unreadable("too_large", f"There are more than {draft.limits.characters:,} characters in the file.")
    data = path.read_bytes()
    declared = _CHARSET.search(data[:4096])
    write(plain.decoded_bytes(data, declared.group(1).decode() if declared else None), draft)


def write(text: str, draft: Draft, whole: bool = False) -> None:
    """Put a page into the draft: its main content, or all of it."""
    root = _parse(text)
    if root is None:
        return
    _describe(root, draft)
    body = root.find("body")
    body = root if body is None else body
    _prune(body, _NEVER)
    content = body if whole else _main_content(body)
    _Walk(draft).block(content)


def _parse(text: str) -> lxml_html.HtmlElement | None:
    parser = lxml_html.HTMLParser(no_network=True, remove_comments=True, remove_pis=True, encoding="utf-8")
    try:
        return lxml_html.document_fromstring(_XML_ENCODING.sub("", text).encode("utf-8", "replace"), parser=parser)
    except etree.ParserError:  # there is nothing in it
        return None


def _describe(root: lxml_html.HtmlElement, draft: Draft) -> None:
    meta = {
        str(each.get("name") or each.get("property")).lower(): each.get("content")
        for each in root.iter("meta")
        if each.get("content")
    }
    draft.describe(
        title=root.findtext(".//title") or meta.get("og:title"),
        author=meta.get("author"),
        description=meta.get("description") or meta.get("og:description"),
        created=meta.get("article:published_time") or meta.get("date"),
        language=root.get("lang"),
    )


def _main_content(body: lxml_html.HtmlElement) -> lxml_html.HtmlElement:
    """The part that is the content; all of it, if what would be left is too little to be that."""
    everything = len(body.text_content())
    main = body.xpath(".//main | .//*[@role='main']") or body.xpath(".//article")
    if len(main) == 1 and len(main[0].text_content()) > everything // 5:
        body = main[0]
    surroundings = [each for each in body.iter() if isinstance(each.tag, str) and _is_around(each)]
    lost = sum(len(each.text_content()) for each in surroundings if not _within(each, surroundings))
    if len(body.text_content()) - lost > min(everything // 10, 200):
        for each in surroundings:
            if each.getparent() is not None:
                each.drop_tree()
    return body


def _within(element: lxml_html.HtmlElement, others: list[lxml_html.HtmlElement]) -> bool:
    return any(above in others for above in element.iterancestors())


def _is_around(element: lxml_html.HtmlElement) -> bool:
    if element.tag in {"body", "main", "article", "html"} or element.get("role") == "main":
        return False
    if element.tag in _AROUND or element.get("role") in _AROUND_ROLES or element.get("aria-hidden") == "true":
        return True
    if element.tag == "header":
        return not any(above.tag in {"article", "main", "section"} for above in element.iterancestors())
    if element.tag not in {"div", "ul", "ol", "section", "span", "table"}:
        return False
    named = _AROUND_NAMES.search(f"{element.get('class', '')} {element.get('id', '')}")
    return bool(named) and (element.tag == "span" or _link_share(element) > 0.3)


def _link_share(element: lxml_html.HtmlElement) -> float:
    total = len("".join(element.text_content().split()))
    linked = sum(len("".join(link.text_content().split())) for link in element.iter("a"))
    return linked / total if total else 1.0


def _prune(root: lxml_html.HtmlElement, tags: set[str]) -> None:
    for element in list(root.iter(*tags)):
        if element.getparent() is not None:
            element.drop_tree()
    for element in root.xpath(".//*[@hidden]"):
        if element.getparent() is not None:
            element.drop_tree()


class _Walk:
    """Goes through a tree: what stands between the borders of blocks is a paragraph."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._inline: list[str] = []
        self._lists = 0

    def block(self, element: lxml_html.HtmlElement) -> None:
        self._into(element)
        self._flush()

    def _into(self, element: lxml_html.HtmlElement) -> None:
        self._text(element.text)
        for child in element:
            if isinstance(child.tag, str):
                self._element(child)
            self._text(child.tail)

    def _element(self, element: lxml_html.HtmlElement) -> None:
        tag = element.tag
        if tag in _HEADINGS:
            self._flush()
            self._draft.heading(element.text_content(), _HEADINGS[tag])
        elif tag == "table":
            self._flush()
            self._table(element)
        elif tag == "pre":
            self._flush()
            self._draft.code(element.text_content())
        elif tag == "br":
            self._inline.append("\n")
        elif tag == "img":
            self._text(element.get("alt"))
        elif tag in {"ul", "ol"}:
            self._list(element)
        elif tag == "li":
            self._inline.append("\n- ")
            self._into(element)
        elif tag in _BLOCKS:
            self._flush()
            self._into(element)
            self._flush()
        else:
            self._into(element)

    def _list(self, element: lxml_html.HtmlElement) -> None:
        """A list is one paragraph, a line for each item."""
        if not self._lists:
            self._flush()
        self._lists += 1
        self._into(element)
        self._lists -= 1
        self._flush()

    def _table(self, element: lxml_html.HtmlElement) -> None:
        caption = element.findtext("caption")
        if caption:
            self._draft.paragraph(" ".join(caption.split()))
        # a table that only lays the page out: it holds tables or headings, or has one column
        if element.xpath(".//table | .//h1 | .//h2 | .//h3"):
            for cell in element.xpath("./tr/td | ./tr/th | ./*/tr/td | ./*/tr/th"):
                self.block(cell)
            return
        rows = list(_rows(element))
        if max((len(row) for row in rows), default=0) < 2:
            for row in rows:
                self._draft.paragraph(" ".join(row))
            return
        self._draft.table(rows)

    def _text(self, text: str | None) -> None:
        if text:
            self._inline.append(re.sub(r"\s+", " ", text))

    def _flush(self) -> None:
        # inside a list only its end is a border, so that its items stay together
        if self._lists:
            return
        text, self._inline = "".join(self._inline), []
        if text.strip(" \n-"):
            self._draft.paragraph(re.sub(r"\n\s*\n+", "\n", text))


def _rows(table: lxml_html.HtmlElement) -> Iterator[list[str]]:
    """Rows of cells. What spans several columns or rows stands in the first, as in the table itself."""
    reaching: dict[int, int] = {}  # column → how many more rows a cell from above fills
    for row in table.xpath("./tr | ./thead/tr | ./tbody/tr | ./tfoot/tr"):
        cells: list[str] = []
        for cell in row.xpath("./td | ./th"):
            while reaching.get(len(cells), 0) > 0:
                reaching[len(cells)] -= 1
                cells.append("")
            columns, rows = _span(cell.get("colspan")), _span(cell.get("rowspan"))
            for number in range(columns):
                reaching[len(cells)] = rows - 1
                cells.append(_text_of(cell) if number == 0 else "")
            if len(cells) > _MOST_COLUMNS:
                break
        while reaching.get(len(cells), 0) > 0:
            reaching[len(cells)] -= 1
            cells.append("")
        yield cells


def _text_of(cell: lxml_html.HtmlElement) -> str:
    """The text of a cell in one line; what stands on lines of its own is not glued together."""
    for element in cell.iter(*_BLOCKS, "br"):
        if element is not cell:
            element.tail = f" {element.tail or ''}"
    return " ".join(cell.text_content().split())


def _span(value: str | None) -> int:
    return max(1, min(int(value), _MOST_COLUMNS)) if value and value.isascii() and value.isdigit() else 1
