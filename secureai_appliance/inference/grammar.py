"""Grammars (GBNF): which tokens may come next.

llama.cpp ends the process when a grammar takes a token that it forbids, so `Matcher.accept` alone gives it tokens, and
only those that the grammar has just permitted. The end of the answer is never given to it.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secureai_appliance.inference.candidates import Entries, Ids
from secureai_appliance.inference.tokens import Vocabulary

MAX_BYTES = 65_536
_MANY = 4096  # above this many tokens the likeliest are looked at first
_FIRST_LOOK = 1024

_KEPT = 64

_guard = threading.Lock()


class Grammar:
    """A grammar that was read and found right; one for any number of requests. Safe from any thread."""

    def __init__(self, vocabulary: Vocabulary, text: str) -> None:
        """Raises ValueError when `text` is no grammar, too large, or can't be used with this vocabulary."""
        data = text.encode()
        if len(data) > MAX_BYTES:
            raise ValueError(f"The grammar has {len(data)} bytes; at most {MAX_BYTES} are possible.")
        if vocabulary.eos < 0:
            raise ValueError("The model's vocabulary has no token that ends an answer.")
        self.vocabulary = vocabulary
        self._native: Any = vocabulary.compile_grammar(data)
        if not self._native:
            raise ValueError("llama.cpp can't use the grammar.")
        self._index = _index(vocabulary)
        weakref.finalize(self, vocabulary.library.api.llama_sampler_free, self._native)

    def matcher(self) -> Matcher:
        """A fresh state of the grammar."""
        return Matcher(self.vocabulary, self._index, self.vocabulary.library.api.llama_sampler_clone(self._native))


def compile_grammar(vocabulary: Vocabulary, text: str) -> Grammar:
    """The grammar of `text`, perhaps from before: programs send the same schema again and again. Raises ValueError."""
    index = _index(vocabulary)
    with _guard:
        known = index.grammars.pop(text, None)
        if known is not None:
            index.grammars[text] = known
            return known
    grammar = Grammar(vocabulary, text)
    with _guard:
        index.grammars[text] = grammar
        while len(index.grammars) > _KEPT:
            del index.grammars[next(iter(index.grammars))]
    return grammar


class Matcher:
    """Where one answer stands in its grammar. For one thread; `close` frees it."""

    def __init__(self, vocabulary: Vocabulary, index: _Index, native: Any) -> None:
        self._vocabulary = vocabulary
        self._api: Any = vocabulary.library.api
        self._index = index
        self._native = native
        self._permitted: int | None = None

    def permits(self, token: int) -> bool:
        """Whether the answer may go on with `token`, or end with it."""
        if token in self._vocabulary.control and not self._vocabulary.is_end(token):
            return False  # the grammar would take its name for text, which nobody is shown
        if len(self._filter(np.array([token], np.int32))) == 0:
            return False
        self._permitted = token
        return True

    def permitted(self, logits: NDArray[np.float32], enough: int | None) -> Ids:
        """The tokens that may come next; when `enough` is given, at least that many of the likeliest, if there are."""
        index = self._index
        firsts = set(self._filter(index.singles).tolist())
        ids = np.concatenate([index.others, *(group for single, group in index.groups if single in firsts)])
        if enough is not None and len(ids) > _MANY:
            likeliest = ids[np.argpartition(logits[ids], -_FIRST_LOOK)[-_FIRST_LOOK:]]
            found = self._filter(likeliest)
            if len(found) >= enough:
                return found
        return self._filter(ids)

    def accept(self, token: int) -> None:
        """Go on with a token. Raises ValueError unless the grammar permits it now."""
        if self._vocabulary.is_end(token):
            return
        if token != self._permitted and not self.permits(token):
            raise ValueError(f"The grammar forbids token {token}.")
        self._permitted = None
        self._api.llama_sampler_accept(self._native, token)

    def close(self) -> None:
        if self._native:
            self._api.llama_sampler_free(self._native)
            self._native = None

    def _filter(self, ids: Ids) -> Ids:
        entries = Entries(self._api, ids, np.zeros(len(ids), np.float32))
        self._api.llama_sampler_apply(self._native, ctypes.byref(entries.native))
        kept: Ids = ids[entries.memory["logit"] > -np.inf]
        return kept


class _Index:
    """The vocabulary by the first byte of the text.

    A grammar that forbids the token of a single byte forbids every token that begins with it, so that most of the
    vocabulary needs no look at all (9 ms for 49,000 tokens against 0.3).
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.grammars: dict[str, Grammar] = {}
        by_first: dict[int, list[int]] = {}
        single: dict[int, int] = {}
        ends: list[int] = []
        for token in range(vocabulary.size):
            if vocabulary.is_end(token):
                ends.append(token)
                continue
            piece = vocabulary.piece(token)
            if token in vocabulary.control or not piece:
                continue
            by_first.setdefault(piece[0], []).append(token)
            if len(piece) == 1:
                single.setdefault(piece[0], token)
        self.singles: Ids = np.array(sorted(single.values()), np.int32)
        self.groups = [(single[first], np.array(ids, np.int32)) for first, ids in by_first.items() if first in single]
        rest = [token for first, ids in by_first.items() if first not in single for token in ids]
        self.others: Ids = np.array(ends + rest, np.int32)


def _index(vocabulary: Vocabulary) -> _Index:
    """Made once for each model: a fifth of a second for 49,000 tokens."""
    with _guard:
        index = vocabulary.grammar_index
        if not isinstance(index, _Index):
            # kept by the vocabulary, so that it goes with its model
            index = vocabulary.grammar_index = _Index(vocabulary)
        return index
