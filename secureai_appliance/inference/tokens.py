"""Text into tokens and back."""

from __future__ import annotations

import codecs
import ctypes
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from secureai_appliance.inference.model import LoadedModel
from secureai_appliance.inference.template import Segment

_WORD_PIECES = 3  # llama_vocab_type of BERT
_UNKNOWN, _CONTROL = 1 << 0, 1 << 3  # llama_token_attr

# Some vocabularies are split with std::regex, which recurses once per character of a run: a run of 40,000 letters
# overflows a thread's stack and ends the process (measured; 20,000 pass). Longer runs are cut.
_LONGEST_RUN = 4096
# Only where a run begins: tried at each of its characters, a search would take seconds for a megabyte of shorter runs,
# and hold the interpreter all that time.
_LONG_RUN = re.compile(rf"(?<!\S)\S{{{_LONGEST_RUN},}}+|(?<!\s)\s{{{_LONGEST_RUN},}}+")


# tokens that a first call has room for; a long text is tokenised again with as much room as it needs, and no more
_FIRST_ROOM = 1 << 16
# no context is longer; as Python's integers, tokens take nine times the memory that they take packed
_MOST_LISTED = 1 << 20


class TooManyTokens(ValueError):
    """More tokens than any model reads; `count` of them."""

    def __init__(self, count: int) -> None:
        super().__init__(f"The text has {count} tokens.")
        self.count = count


@dataclass(frozen=True)
class Separators:
    """The tokens around two texts that are read together."""

    before: list[int]
    between: list[int]
    after: list[int]


class Vocabulary:
    """A model's tokens. Safe from any thread, and never waits for the model to finish a step.

    `size` is their number; ids run from 0 to `size` - 1. `control_texts` are the texts of all tokens that text must not
    turn into unless it comes from the chat template. `grammar_index` is what `grammar` keeps here.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self.library = model.library
        self._api: Any = model.library.api
        with model.use() as pointer:
            self._pointer: Any = self._api.llama_model_get_vocab(pointer)
            self.size = int(self._api.llama_vocab_n_tokens(self._pointer))
            self.bos = int(self._api.llama_vocab_bos(self._pointer))
            self.eos = int(self._api.llama_vocab_eos(self._pointer))
            self._add_bos = bool(self._api.llama_vocab_get_add_bos(self._pointer)) and self.bos >= 0
            self._read_special_tokens()
        self._pieces: dict[int, bytes] = {}
        self.grammar_index: object = None

    def _read_special_tokens(self) -> None:
        """Done once: some 0.3 µs for each token of the vocabulary."""
        attribute, text = self._api.llama_vocab_get_attr, self._api.llama_vocab_get_text
        special = [token for token in range(self.size) if attribute(self._pointer, token) & (_CONTROL | _UNKNOWN)]
        texts = {token: text(self._pointer, token).decode("utf-8", "replace") for token in special}
        self.control = frozenset(special)
        self.control_texts = tuple(sorted(filter(None, set(texts.values()))))
        longest_first = sorted(self.control_texts, key=len, reverse=True)
        self._control_pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})" if longest_first else "(?!)")
        self.bos_text = texts.get(self.bos, "")
        self.eos_text = texts.get(self.eos, "")
        self._ends = frozenset(
            token for token in range(self.size) if self._api.llama_vocab_is_eog(self._pointer, token)
        )

    def is_end(self, token: int) -> bool:
        """Whether the token ends an answer."""
        return token in self._ends

    def tokenize(self, text: str, *, control: bool = False, add_special: bool = False) -> list[int]:
        """The tokens of `text`. Texts of control tokens become those tokens only when `control` is set.

        `add_special` adds what the model wants around a whole input ([CLS] … [SEP], or the first token). The text comes
        back from `text` unchanged but for lone surrogates, which become `?`. Raises TooManyTokens.
        """
        return _listed(self._packed(text, control, add_special))

    def tokenize_segments(self, segments: Iterable[Segment]) -> list[int]:
        """The tokens of a rendered prompt, begun as the model wants it. Only trusted text gives control tokens.

        Raises TooManyTokens.
        """
        tokens = array("i")
        for segment in segments:
            tokens += self._packed(segment.text, segment.trusted, False)
        if self._add_bos and (not tokens or tokens[0] != self.bos):
            tokens.insert(0, self.bos)
        return _listed(tokens)

    def split_control(self, text: str) -> list[str]:
        """Ordinary text and texts of control tokens in turn, beginning and ending with the former."""
        return self._control_pattern.split(text)

    @cached_property
    def separators(self) -> Separators:
        """What models that compare two texts were trained with: `[CLS] a [SEP] b [SEP]`, `<s> a </s></s> b </s>`."""
        api = self._api
        with self._model.use():
            separator = int(api.llama_vocab_sep(self._pointer))
            adds_end, adds_separator = (
                bool(adds(self._pointer)) for adds in (api.llama_vocab_get_add_eos, api.llama_vocab_get_add_sep)
            )
            is_bert = int(api.llama_vocab_type(self._pointer)) == _WORD_PIECES
        start = [self.bos] * self._add_bos
        if is_bert:
            # llama-server takes these from two flags of the file, which are not right in all: some inputs then end
            # without a separator, others have two between the texts
            return Separators(start, [separator], [separator])
        end = [self.eos if self.eos >= 0 else separator] * adds_end
        return Separators(start, end + [separator] * adds_separator, end)

    def piece(self, token: int) -> bytes:
        """The bytes of one token: not always whole characters; empty for control tokens. Raises ValueError."""
        known = self._pieces.get(token)
        if known is not None:
            return known
        self.check([token])
        piece = self._read_piece(token)
        self._pieces[token] = piece
        return piece

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, control tokens left out."""
        return b"".join(self.piece(token) for token in tokens).decode("utf-8", "replace")

    def piece_or_name(self, token: int) -> bytes:
        """The bytes of one token; of a control token, its name. Raises ValueError."""
        piece = self.piece(token)
        if piece or token not in self.control:
            return piece
        with self._model.use():
            return bytes(self._api.llama_vocab_get_text(self._pointer, token))

    def compile_grammar(self, text: bytes) -> Any:
        """llama.cpp's own form of a grammar, for `llama_sampler_free`; null when it can't be read."""
        with self._model.use():
            return self._api.llama_sampler_init_grammar(self._pointer, text, b"root")

    def check(self, tokens: Sequence[int]) -> None:
        """Raises ValueError when an id is not in the vocabulary: llama.cpp would read past its tables."""
        if tokens and not (min(tokens) >= 0 and max(tokens) < self.size):
            raise ValueError(f"Token ids must be from 0 to {self.size - 1}.")

    def _packed(self, text: str, control: bool, add_special: bool) -> array[int]:
        if _LONG_RUN.search(text) is None:
            return self._tokenize(text, control, add_special)
        # a cut must not go through a control token of the template
        parts = self._control_pattern.split(text) if control else [text]
        tokens = array("i")
        for part in parts:
            for piece in _cut_long_runs(part):
                tokens += self._tokenize(piece, control, False)
        return self._surround(tokens) if add_special else tokens

    def _surround(self, tokens: array[int]) -> array[int]:
        frame = self._tokenize("", False, True)
        middle = len(frame) - 1 if len(frame) > 1 else len(frame)
        return frame[:middle] + tokens + frame[middle:]

    def _tokenize(self, text: str, control: bool, add_special: bool) -> array[int]:
        # llama.cpp throws at invalid UTF-8, and nothing catches it on the way through ctypes
        data = text.encode("utf-8", "replace")
        if len(data) > 2**30:
            raise ValueError("The text is too long.")
        room = min(len(data) + 16, _FIRST_ROOM)
        while True:
            buffer = (ctypes.c_int32 * room)()
            with self._model.use():
                count = self._api.llama_tokenize(self._pointer, data, len(data), buffer, room, add_special, control)
            if count >= 0:
                return array("i", memoryview(buffer)[:count].cast("B").cast("i"))
            if -count <= room:
                raise ValueError("The text can't be turned into tokens.")
            room = -count

    def _read_piece(self, token: int) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            with self._model.use():
                count = int(self._api.llama_token_to_piece(self._pointer, token, buffer, room, 0, False))
            if count >= 0:
                return buffer.raw[:count]
            room = -count


def _listed(tokens: array[int]) -> list[int]:
    if len(tokens) > _MOST_LISTED:
        raise TooManyTokens(len(tokens))
    return tokens.tolist()


class IncrementalText:
    """Bytes of tokens into text, holding back a character until all its bytes are there."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, piece: bytes) -> str:
        """The characters that are complete now. Bytes that can't become a character any more give U+FFFD."""
        return self._decoder.decode(piece)

    def flush(self) -> str:
        """U+FFFD for a character that was begun and never finished, else nothing."""
        return self._decoder.decode(b"", True)


def _cut_long_runs(text: str) -> Iterable[str]:
    start = 0
    for run in _LONG_RUN.finditer(text):
        for end in range(run.start() + _LONGEST_RUN, run.end() + 1, _LONGEST_RUN):
            yield text[start:end]
            start = end
    if start < len(text):
        yield text[start:]
