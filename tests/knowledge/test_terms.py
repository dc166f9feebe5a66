"""What a document is found by, in every language: a query has a term of each of its words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secureai_appliance.knowledge.terms import query_terms, terms


def found(query: str, text: str) -> bool:
    """Whether every word of the query has a term in the text."""
    present = set(terms(text).split())
    return all(present.intersection(alternatives) for alternatives in query_terms(query))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("pump maintenance", "The pumps were maintained: maintenance of pumps is what they need."),
        ("running", "It runs on the grid and not on the batteries of the shed."),
        ("Häuser prüfen", "Die Prüfung der Häuser und das Prüfen von Ventilen ist nicht mit Kosten verbunden."),
        ("Haus", "Die Pumpen in den Häusern wurden nicht von der Firma gewartet und sind für das Werk."),
        ("cheval", "Les chevaux sont dans les jardins et ne sont pas sur la route."),
        ("eau", "La qualité de l'eau est dans le rapport qui est sur la table et pas dans les annexes."),
        ("bibliotecas", "La biblioteca no está en el centro de la ciudad pero es muy grande."),
        ("biblioteche", "La biblioteca non è nel centro della città ma è anche per i bambini."),
        ("насос", "Насосы были проверены и это не на складе, как это было."),
        ("مكتبة", "المكتبات في المدينة من التي كانت على هذا"),
        ("muller", "Frau Müller ist nicht da und das ist für die Firma nicht gut."),
        ("Strasse", "Die Straße ist nicht gesperrt und der Weg ist für die Autos offen."),
        ("水道", "東京都の水道局は新しい管を設置した。"),
        ("数据库", "我们的数据库每天备份一次。"),
        ("水", "水は大切です。"),
        ("ประปา", "ระบบน้ำประปาของเมืองได้รับการปรับปรุง"),
        ("데이터베이스", "이 데이터베이스는 매일 백업됩니다."),
        ("हिन्दी", "यह हिन्दी भाषा में लिखा है"),
        ("BP1087", "Replace part BP1087 at once."),
        ("bp1087", "Replace part BP1087 at once."),
        ("1087", "Replace part BP1087 at once."),
        ("bp 1087", "Replace part BP1087 at once."),
        ("F-150", "The Ford F-150 is parked."),
        ("F150", "The Ford F-150 is parked."),
        ("150", "The Ford F-150 is parked."),
        ("getUserName", "call getUserName() first"),
        ("user name", "call getUserName() first"),
        ("report_v2.pdf", "see report_v2.pdf"),
        ("email", "send an e-mail"),
        ("1234", "It costs 1,234 in all."),
        ("AC/DC", "an AC/DC converter"),
        ("company", "the company's plan"),
        ("naïve", "a naive approach"),
        ("ﬁnance", "finance and accounting"),
    ],
)
def test_a_query_finds_the_text(query: str, text: str) -> None:
    assert found(query, text), (query_terms(query), terms(text))


@pytest.mark.parametrize(
    ("query", "text"),
    [("BP1088", "Replace part BP1087 at once."), ("水管", "東京都の水道局"), ("pumping", "The plum is ripe.")],
)
def test_a_query_does_not_find_another_text(query: str, text: str) -> None:
    assert not found(query, text)


def test_words_that_only_hold_sentences_together_are_not_looked_for() -> None:
    assert [alternatives[0] for alternatives in query_terms("what is the pressure of the pump")] == ["pressur", "pump"]
    assert query_terms("to be or not to be")
    assert query_terms("?!") == []


@given(st.text(max_size=200))
def test_every_text_becomes_terms_that_the_index_keeps_as_they_are(text: str) -> None:
    for term in terms(text).split(" "):
        assert re.fullmatch(r"[a-z0-9]*", "".join(letter for letter in term if letter.isascii())), term
    for alternatives in query_terms(text):
        assert alternatives
        assert all(term and " " not in term for term in alternatives)


@given(st.text(alphabet="aZ9-_.'é水ก์ ا", min_size=1, max_size=30))
def test_every_text_is_found_by_itself(text: str) -> None:
    assert found(text, text), (query_terms(text), terms(text))
