"""What is no question to documents, in several languages; and what is one all the same."""

from __future__ import annotations

import pytest

from secureai_appliance.conversations.asking_whole import asks_about_whole
from secureai_appliance.conversations.small_talk import needs_no_documents
from tests.support.workshop import ANSWERABLE, UNANSWERABLE

SMALL_TALK = (
    # English
    *("Hello", "hi there!", "Hey, good morning :)", "Thank you", "thanks a lot for your help!", "What can you do?"),
    *("Hi, how are you doing today?", "Who are you?", "What's your name?", "ok great, thanks", "Goodbye and take care"),
    *("Can you help me please?", "No, thanks.", "Perfect!", "Hello! What can I ask you?", "Got it, thank you so much"),
    # German
    *(
        "Hallo",
        "Guten Morgen!",
        "Danke schön",
        "Vielen Dank für deine Hilfe",
        "Was kannst du?",
        "Wer bist du",
    ),
    *(
        "Hi, wie geht's dir?",
        "Wie heisst du?",
        "Tschuess, bis spaeter",
        "Alles klar, danke!",
        "Kannst du mir bitte helfen?",
    ),
    *("Grüß Gott", "Wobei kannst du mir helfen?", "super, vielen dank"),
    # French
    *("Bonjour", "Salut, ça va ?", "Merci beaucoup !", "Merci pour votre aide", "Que peux-tu faire ?", "Qui es-tu ?"),
    *(
        "Qu’est-ce que tu peux faire ?",
        "Comment t'appelles-tu ?",
        "Pouvez-vous m'aider, s'il vous plaît ?",
        "Au revoir",
    ),
    *("D'accord, merci", "Bonsoir à tous"),
    # Spanish
    *("¡Hola!", "Buenos días", "Muchas gracias", "Gracias por tu ayuda", "¿Qué puedes hacer?", "¿Quién eres?"),
    *("Hola, ¿qué tal?", "¿Cómo te llamas?", "¿Puedes ayudarme, por favor?", "Vale, gracias", "Adiós y hasta mañana"),
    # others
    *("Buongiorno", "Grazie mille", "Obrigado!", "Dank je wel", "你好", "谢谢！", "ありがとうございます"),
)
ABOUT_WHAT_WAS_SAID = (
    *("Say that shorter", "shorter please", "Can you make it a bit shorter?", "Translate that into German"),
    *("In French, please.", "Could you rephrase that?", "What did you just say?", "What was my first question?"),
    *("Put that in bullet points", "Explain it in simple terms", "Thanks! And now in German please", "Summarise that"),
    *("Turn that into a polite email to my boss", "Rewrite it for a ten-year-old", "too long", "as a table please"),
    *(
        "Summarize your answer in one sentence",
        "Sum that up",
        "translate to Spanish",
        "in simple words please",
        "Give me the shorter version",
    ),
    *("Sag das kürzer", "Kannst du das bitte kürzer sagen?", "Übersetze das ins Englische", "auf Deutsch bitte"),
    *("Kannst du das auf Englisch übersetzen?", "Formuliere das bitte höflicher", "Was habe ich zuerst gefragt?"),
    *("Fasse deine Antwort zusammen", "in Stichpunkten", "Erkläre das in einfachen Worten", "zu lang"),
    *("Mach daraus eine E-Mail an meinen Chef", "Und jetzt bitte als Tabelle", "uebersetze das auf franzoesisch"),
    *("Plus court, s'il te plaît", "Peux-tu le dire plus simplement ?", "Traduis ça en anglais", "en allemand"),
    *(
        "Reformule ta réponse",
        "Qu'est-ce que tu as dit ?",
        "Résume ta réponse en une phrase",
        "Traduisez cela en espagnol",
    ),
    *("Más corto, por favor", "Dilo en otras palabras", "Tradúcelo al inglés", "Traduce eso al alemán", "en español"),
    *("¿Puedes decirlo más breve?", "Resume tu respuesta", "¿Qué dijiste?", "Explícalo con palabras sencillas"),
)
QUESTIONS = (
    *ANSWERABLE,
    *UNANSWERABLE,
    # a greeting before a question, and words of both lists in questions
    *("Hello, how often is brake fluid changed?", "Hi! What is the tyre pressure?", "Thanks, and the warranty?"),
    *("What can you do about rust?", "Can you help me with invoice BP1087?", "Who are you insured with?", "Help menu"),
    *(
        "What is the name of the bank?",
        "Is the left belt shorter?",
        "How do I translate error E12?",
        "Good brake fluid?",
    ),
    *("Translate the warranty into German", "List the holidays as a table", "Is there a simpler gearbox?", "BP1087"),
    *("And why?", "why so much?", "Tell me more", "Are you sure?", "Explain that in more detail", "yes", "go on"),
    *(
        "What about winter tyres?",
        "What did the handbook say?",
        "What is DOT 4 in simple terms?",
        "Repeat order BP1087",
    ),
    *("Summarise that report", "Translate this page into German", "Rewrite that paragraph of the handbook"),
    *(
        "Put it in the van?",
        "Make it as tight as possible?",
        "Übersetze das Handbuch ins Englische",
        "Formuliere das Angebot",
    ),
    *("Traduis le manuel en anglais", "Traduce esta página al alemán", "What is this text about?"),
    *("Turn the screw into the thread", "Turn it clockwise or not?", "How is the sign-off translated?", "which one?"),
    *(
        "Hallo, wie oft wird Bremsflüssigkeit gewechselt?",
        "Was kannst du mir über Reifen sagen?",
        "Danke, und die Garantie?",
    ),
    *(
        "Wer ist der Chef?",
        "Ist der linke Riemen kürzer?",
        "Übersetze die Garantie ins Englische",
        "Warum?",
        "Und dann?",
    ),
    *(
        "Bonjour, quand l'atelier est-il fermé ?",
        "Que peux-tu dire sur les pneus ?",
        "Merci, et la garantie ?",
        "Pourquoi ?",
    ),
    *(
        "Qui est le chef ?",
        "La courroie est-elle plus courte ?",
        "Traduis la garantie en anglais",
        "Et alors, les freins ?",
    ),
    *(
        "Hola, ¿cuándo se cambia el líquido de frenos?",
        "¿Qué puedes decir de los neumáticos?",
        "Gracias, ¿y la garantía?",
    ),
    *("¿Quién es el jefe?", "¿Es más corta la correa?", "Traduce la garantía al inglés", "¿Por qué?", "¿Y el motor?"),
    *("", " ", "?!", "123", "你好,轮胎的压力是多少?"),
)
WHOLE = ("Summarise this document", "Summarise it", "tl;dr", "Fasse das Dokument zusammen", "Résume ce document")


@pytest.mark.parametrize("said", SMALL_TALK)
def test_small_talk_needs_no_documents(said: str) -> None:
    assert needs_no_documents(said, answered=False)
    assert needs_no_documents(said, answered=True)


@pytest.mark.parametrize("said", ABOUT_WHAT_WAS_SAID)
def test_what_is_wished_of_an_answer_needs_no_documents_where_there_is_one(said: str) -> None:
    assert needs_no_documents(said, answered=True)
    assert not needs_no_documents(said, answered=False)


@pytest.mark.parametrize("said", QUESTIONS)
def test_questions_are_for_the_documents(said: str) -> None:
    assert not needs_no_documents(said, answered=True)


@pytest.mark.parametrize("said", WHOLE)
def test_summaries_of_documents_are_for_the_documents(said: str) -> None:
    assert asks_about_whole(said)
    assert not needs_no_documents(said, answered=True)


def test_a_long_text_is_no_small_talk() -> None:
    assert not needs_no_documents("thank you " * 100, answered=True)
    assert not needs_no_documents("can you say that once more " * 7 + "brake", answered=True)
