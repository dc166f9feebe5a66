"""Which language a text is in, as far as stemming needs to know: by its script and its most common words."""

from __future__ import annotations

from collections.abc import Sequence

# words that hold sentences together
_WORDS = {
    "english": (
        "the of and to in is that for it was with as be this by are from at not have on or an which were"
        " but has their its had will would can been what how when where who why does do did if than then"
        " there these those"
    ),
    "german": (
        "der die das und ist nicht von zu den mit sich des auf für im dem ein eine einer eines einem"
        " einen auch als wird werden bei nach wie wenn oder aber aus durch über zum zur sind wurde kann"
        " haben hat"
    ),
    "french": (
        "le la les des et est une du que qui dans pour pas sur au aux avec ce cette ces sont par plus ne"
        " se il elle ou mais nous vous leur été être ont comme où"
    ),
    "spanish": (
        "el los las y es una del que en por con para se no como más su sus al lo pero fue son ha este"
        " esta entre cuando muy sin sobre también hasta desde donde"
    ),
    "italian": (
        "il gli della delle dei degli che è una per non con sono del nel nella anche come più alla dal"
        " dalla questo questa ma essere ha ed lo stato"
    ),
    "portuguese": (
        "o os as e é uma um da do das dos que em não para com por mais como mas foi ao ele sua seu são"
        " também à pela pelo ou quando muito nos já está"
    ),
    "dutch": (
        "de het een en van is dat niet op te zijn met voor er aan om ook als maar naar bij of uit door"
        " over wordt werd deze dit hebben kan worden heeft"
    ),
    "swedish": (
        "och att det är som på av för med inte den till ett har de om men var sig från vi så kan när"
        " eller ska vid mot efter också"
    ),
    "danish": (
        "og at det er som på af for med ikke den til et har de om men var sig fra vi så kan når eller"
        " skal ved mod efter også blev"
    ),
    "norwegian": (
        "og at det er som på av for med ikke den til et har de om men var seg fra vi så kan når eller"
        " skal ved mot etter også ble"
    ),
    "finnish": (
        "ja on ei että se oli hän mutta ovat kun myös tai joka sen niin kuin mukaan jos ole vain sekä"
        " tämä ovat olla jotka voi"
    ),
    "hungarian": (
        "a az és hogy nem is egy ez meg volt de mint már csak vagy el ha van kell még azt lehet ki minden után"
    ),
    "romanian": (
        "și în de la cu pe nu este a care o un mai din că se sunt pentru fi prin al ale ca dar sau după între"
    ),
    "polish": ("i w na z się nie do to że jest o jak po co ale od za przez dla ma są tym może które który oraz być"),
    "turkish": "ve bir bu da için ile de olarak çok daha olan gibi ama en kadar sonra var ne mi ya ise olduğu",
    "russian": (
        "и в не на что с по как это из к за от он она но для же бы то все так его или мы при был было были если"
    ),
    "greek": "και το να του η της με που την από για είναι τα στο των σε οι τον δεν στην τους ένα μια θα ως",
    "arabic": "في من على أن إلى التي عن لا هذا هذه ما كان الذي مع كل قد بين أو بعد كما ذلك و هو هي",
}
FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}

_LATIN = (
    "english", "german", "french", "spanish", "italian", "portuguese", "dutch", "swedish", "danish", "norwegian",
    "finnish", "hungarian", "romanian", "polish", "turkish",
)  # fmt: skip
# languages that share a script, by its last character
SCRIPTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("\u024f", _LATIN),
    ("\u036f", ("english",)),
    ("\u03ff", ("greek",)),
    ("\u052f", ("russian",)),
    ("\u05ff", ("english",)),
    ("\u06ff", ("arabic",)),
    ("\u08ff", ("english",)),
    ("\u097f", ("hindi",)),
    ("\u1dff", ("english",)),
    ("\u1eff", _LATIN),
    ("\u1fff", ("greek",)),
    ("\U0010ffff", ("english",)),
)
_SAMPLE = 200
_CERTAIN = 3
_EVERY_WORD = frozenset().union(*FUNCTION_WORDS.values())


def language_of(words: Sequence[str]) -> str:
    """The Snowball name of the language of most of the words; English if too few tell."""
    telling = _EVERY_WORD.intersection(map(str.lower, words[:_SAMPLE]))
    counts = {language: len(telling & known) for language, known in FUNCTION_WORDS.items()}
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] >= _CERTAIN and counts[best] > counts["english"] else "english"
