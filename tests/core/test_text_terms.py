"""The terms that texts are found by, in a real index."""

from __future__ import annotations

import apsw
import pytest

from secureai_appliance.core import text_terms

TEXTS = {
    "en": "The brake_pads of the Honda Civic, part BP-1087.",
    "de": "Bremsbeläge für die Straße",
    "fr": "Le CAFÉ est fermé — ﬁn",
    "ja": "今日は日本語でブレーキを話す",
    "zh": "本田思域的刹车片",
    "th": "ผ้าเบรกสำหรับรถยนต์",
    "ko": "브레이크 패드",
    "hi": "ब्रेक पैड की कीमत",
    "ar": "وسادات الفرامل",
    "ru": "Тормозные КОЛОДКИ",
}


@pytest.fixture(scope="module")
def index() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5 (terms, content = '', tokenize = 'ascii')")
    for number, text in enumerate(TEXTS.values()):
        connection.execute("INSERT INTO t (rowid, terms) VALUES (?, ?)", (number, text_terms.indexed(text)))
    return connection


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("brake", "en"),
        ("PADS civic", "en"),
        ("bp-1087", "en"),
        ("108", "en"),
        ("087", ""),
        ("bp 1088", ""),
        ("bremsbelage", "de"),
        ("strasse", "de"),
        ("Cafe\u0301", "fr"),
        ("ｃａｆｅ fin", "fr"),
        ("日本", "ja"),
        ("日本語", "ja"),
        ("ブレーキ", "ja"),
        ("す", "ja"),
        ("日語", ""),
        ("刹车", "zh"),
        ("刹", "zh"),
        ("เบรก", "th"),
        ("패드", "ko"),
        ("कीमत", "hi"),
        ("الفرامل", "ar"),
        ("колодки", "ru"),
        ("e", ""),
    ],
)
def test_a_text_is_found_by_its_words_however_they_are_written(index: apsw.Connection, query: str, found: str) -> None:
    rows = index.execute("SELECT rowid FROM t WHERE t MATCH ?", (text_terms.query(query),)).fetchall()
    assert [list(TEXTS)[number] for (number,) in rows] == ([found] if found else [])


def test_a_beginning_is_asked_for_as_the_terms_that_begin_so_where_they_are_few(index: apsw.Connection) -> None:
    asked: list[str] = []

    def longer(found: list[str] | None) -> str:
        return text_terms.query("Brems 日本 Wechsel", lambda beginning: asked.append(beginning) or found)

    assert longer(["brems", "bremsen"]) == '("brems" OR "bremsen") AND "日本" AND ("brems" OR "bremsen")'
    assert longer([]) == '"brems" AND "日本" AND "wechsel"'
    assert longer(None) == '"brems" * AND "日本" AND "wechsel" *'
    assert set(asked) == {"brems", "wechsel"}
    for found in (["cafe", "fin"], [], None):
        index.execute("SELECT rowid FROM t WHERE t MATCH ?", (longer(found),)).fetchall()


def test_a_word_that_is_said_twice_is_asked_for_once() -> None:
    assert text_terms.wanted("Pads pads PADS 日本 fit 日本") == [["pads"], ["日本"], ["fit"]]


@pytest.mark.parametrize("query", ["", " ", "!?", "_", "\u0301", "—"])
def test_a_query_without_words_asks_for_nothing(query: str) -> None:
    assert text_terms.query(query) == ""


@pytest.mark.parametrize("query", ['"', "a OR b", "NEAR(a b)", "a*b^", "-a", "terms:a", "(", "'"])
def test_the_language_of_the_index_is_only_text(index: apsw.Connection, query: str) -> None:
    if expression := text_terms.query(query):
        index.execute("SELECT rowid FROM t WHERE t MATCH ?", (expression,)).fetchall()


def test_terms_know_where_they_stand() -> None:
    text = "A CAFÉ in 東京都"
    found = [(term.text, text[term.start : term.end]) for term in text_terms.terms(text)]
    assert found == [("a", "A"), ("cafe", "CAFÉ"), ("in", "in"), ("東京", "東京"), ("京都", "京都"), ("都", "都")]


def test_no_character_breaks_out_of_its_term() -> None:
    text = " ".join(map(chr, (code for code in range(0x20, 0x30000) if not 0xD800 <= code < 0xE000)))
    for term in text_terms.terms(text):
        assert term.text
        assert all(not letter.isascii() or letter.isalnum() for letter in term.text), term
