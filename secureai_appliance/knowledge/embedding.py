"""The embedding model of an index: loaded when it is needed, held while it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING
from unicodedata import category

from secureai_appliance.core.errors import InternalError
from secureai_appliance.inference.generation import Priority
from secureai_appliance.knowledge.held import held
from secureai_appliance.models import catalogue
from secureai_appliance.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from secureai_appliance.inference.embedder import Embedder
    from secureai_appliance.models.registry import Models

SPECIAL_TOKENS = 2
"""That the model itself puts around a text."""


@contextmanager
def embedder(
    store: Store, models: Models, model_id: str, abandoned: Callable[[], bool] = lambda: False
) -> Iterator[Embedder]:
    """The model, kept in memory until the `with` ends. Raises NotFound, ServiceUnavailable."""
    from secureai_appliance.inference.embedder import Embedder

    with store.read() as db:
        row = catalogue.find(db, model_id)
    with held(models, row, models.embedding, abandoned) as loaded:
        if not isinstance(loaded, Embedder):
            raise InternalError("The model in this place makes no embeddings.")
        yield loaded


def count(model: Embedder, text: str) -> int:
    """Tokens of a text, without those that the model puts around it."""
    from secureai_appliance.inference.tokens import TooManyTokens

    try:
        return len(model.tokenize(text)) - SPECIAL_TOKENS
    except TooManyTokens as cause:
        return cause.count


def tokens(model: Embedder, text: str) -> list[int]:
    """A text's tokens, its end left out where it is longer than the model reads."""
    from secureai_appliance.inference.tokens import TooManyTokens

    most = model.max_tokens
    try:
        found = model.tokenize(text)
    except TooManyTokens:
        found = model.tokenize(text[: most * 2])
    return found if len(found) <= most else [*found[: most - 1], found[-1]]


def pieces(model: Embedder, text: str, ids: Sequence[int]) -> int:
    """In how many pieces the model reads a text, whose tokens are `ids`; a word that it doesn't know is its letters."""
    unknown = model.vocabulary.control
    if unknown.isdisjoint(ids[1:-1]):
        return len(ids) - SPECIAL_TOKENS
    total = 0
    for is_word, run in groupby(text, lambda letter: category(letter)[0] in "LMN"):
        if is_word:
            word = "".join(run)
            found = tokens(model, word)[1:-1]
            total += len(found) if unknown.isdisjoint(found) else sum(map(str.isalnum, word))
    return total


def vectors(
    model: Embedder,
    passages: Sequence[Sequence[int]],
    abandoned: Callable[[], bool] = lambda: False,
    *,
    priority: Priority = Priority.INTERACTIVE,
) -> list[NDArray[np.float32]]:
    """A vector of length 1 for each list of tokens. Raises Abandoned, ServiceUnavailable."""
    return model.embed(passages, abandoned, priority=priority)
