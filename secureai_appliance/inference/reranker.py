"""A loaded rerank model (cross-encoder): a question and a text, read together, into how well the text answers it.

Query and text stand in one input as the model was trained: in its own rerank template where the file has one (Qwen3),
else with the vocabulary's separators, `[CLS] query [SEP] text [SEP]` (BERT) or `<s> query </s></s> text </s>`
(XLM-RoBERTa). What comes from outside never becomes a control token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from secureai_appliance.core.errors import InternalError, ValidationError
from secureai_appliance.inference.context import Context
from secureai_appliance.inference.core_budget import CoreBudget
from secureai_appliance.inference.generation import Priority
from secureai_appliance.inference.gguf import RANK, GgufInfo
from secureai_appliance.inference.library import LoadFailure
from secureai_appliance.inference.model import describe_model
from secureai_appliance.inference.pooled import PooledModel, PooledOptions

_QUERY, _TEXT = "{query}", "{document}"
_PLACES = re.compile(f"({re.escape(_QUERY)}|{re.escape(_TEXT)})")
_YES_NO = 2
# no more of a text is looked at: tokens seldom have more characters
_CHARACTERS_PER_TOKEN = 16
# tokens that words may take more where they are joined
_SEAM = 8


@dataclass(frozen=True)
class RerankerOptions(PooledOptions):
    """The longest input is a query and a text together."""

    batch: int = 1024


@dataclass(frozen=True)
class Pair:
    """An input. `cut`: the text was too long, and its end is left out."""

    tokens: list[int]
    cut: bool


class Reranker(PooledModel):
    """One loaded rerank model. Every method may be called from any thread."""

    _noun = "rerank model"

    def __init__(self, path: Path, options: RerankerOptions | None = None, cores: CoreBudget | None = None) -> None:
        """Load the model; blocks until it can answer. `cores` None: it has them all. Raises LoadFailure."""
        info = describe_model(path)
        self._template = _template(info)
        self._is_probability = _chooses(info)
        super().__init__(path, options or RerankerOptions(), _pooling, cores)
        if self._template is None and not self._can_separate():
            self.close()
            raise LoadFailure("The model has neither a rerank template nor tokens that part a query from a text.")
        frame = len(self._filled("", "") if self._template else self._separated([], [""])[0].tokens)
        if frame + _SEAM > self.max_tokens // 4:
            self.close()
            raise LoadFailure(
                f"The model reads {self.max_tokens} tokens, and its own frame has {frame}: too few are left."
            )

    @property
    def longest_query(self) -> int:
        """Tokens: half of an input, so that there is room for a text."""
        return self.max_tokens // 2

    def pairs(self, query: str, texts: Sequence[str], *, cut_query: bool = False) -> list[Pair]:
        """An input for each text, which is cut where both together are too long.

        Raises ValidationError for a query of more than `longest_query` tokens (`code` "context_length_exceeded"),
        unless it is to be cut as well.
        """
        tokens, too_long = self._first(query, self.longest_query)
        if too_long and not cut_query:
            raise ValidationError(
                f"The 'query' field has too many tokens; this model reads {self.longest_query} of it.",
                field="query",
                constraint="context_length",
                code="context_length_exceeded",
                details={"context_length": self.longest_query},
            )
        if self._template is None:
            return self._separated(tokens, texts)
        return self._templated(self.vocabulary.text(tokens) if too_long else query, texts)

    def score(
        self,
        pairs: Sequence[Pair],
        abandoned: Callable[[], bool] = lambda: False,
        *,
        priority: Priority = Priority.INTERACTIVE,
    ) -> list[float]:
        """From 0 to 1 for each pair, in order: how well the text answers the query. Blocks until done.

        Figures of one model can be compared, those of two can't. Raises Abandoned soon after `abandoned` has turned
        true, ServiceUnavailable when too many calls are under way.
        """
        return self._results([pair.tokens for pair in pairs], abandoned, priority)

    def _can_separate(self) -> bool:
        """Whether there are separators, and the vocabulary has them: what it names them by may be any number."""
        marks = self.vocabulary.separators
        ids = {*marks.before, *marks.between, *marks.after}
        return bool(marks.between) and all(0 <= token < self.vocabulary.size for token in ids)

    def _separated(self, query: list[int], texts: Sequence[str]) -> list[Pair]:
        marks = self.vocabulary.separators
        before, after = [*marks.before, *query, *marks.between], marks.after
        pairs = []
        for text in texts:
            tokens, cut = self._first(text, self.max_tokens - len(before) - len(after))
            pairs.append(Pair([*before, *tokens, *after], cut))
        return pairs

    def _templated(self, query: str, texts: Sequence[str]) -> list[Pair]:
        room = self.max_tokens - len(self._filled(query, "")) - _SEAM
        pairs = []
        for text in texts:
            tokens, cut = self._first(text, room)
            pairs.append(Pair(self._filled(query, self.vocabulary.text(tokens) if cut else text), cut))
        return pairs

    def _filled(self, query: str, text: str) -> list[int]:
        """The template with both in it. Its own words and theirs become tokens together, as they did in training."""
        words, tokens = self.vocabulary, list[int]()
        given = {_QUERY: query, _TEXT: text}
        for number, part in enumerate(words.split_control(self._template or "")):
            if number % 2:
                tokens += words.tokenize(part, control=True)
            else:
                tokens += words.tokenize("".join(given.get(piece, piece) for piece in _PLACES.split(part)))
        return tokens

    def _first(self, text: str, most: int) -> tuple[list[int], bool]:
        """The first tokens of a text, and whether there are more."""
        looked_at = text[: most * _CHARACTERS_PER_TOKEN]
        tokens = self.vocabulary.tokenize(looked_at)
        return tokens[:most], len(tokens) > most or len(looked_at) < len(text)

    def _read(self, context: Context, sequence: int) -> float:
        pointer = context.embedding(sequence)
        score = math.nan if pointer is None else float(pointer[0])
        if not math.isfinite(score):
            raise InternalError("The rerank model gave no score.")
        return score if self._is_probability else _sigmoid(score)


def _template(info: GgufInfo) -> str | None:
    """The file's own rerank template. Raises LoadFailure for one that does not name query and text once each."""
    template = info.rerank_template
    if template is None:
        return None
    if not template.count(_QUERY) == template.count(_TEXT) == 1:
        raise LoadFailure(f"The model's rerank template does not have {_QUERY} and {_TEXT} once each.")
    if _QUERY + _TEXT in template or _TEXT + _QUERY in template:
        raise LoadFailure(f"The model's rerank template has nothing between {_QUERY} and {_TEXT}.")
    return template


def _pooling(info: GgufInfo) -> int:
    if info.pooling != RANK:
        raise LoadFailure("The model does not rank texts.")
    if not info.has_head:
        raise LoadFailure("The model is said to rank texts and lacks the layer that does.")
    if info.classes != (_YES_NO if _chooses(info) else 1):
        raise LoadFailure(f"The model sorts texts into {info.classes} classes; it does not rank them.")
    return RANK


def _chooses(info: GgufInfo) -> bool:
    """Whether llama.cpp makes of the head's figures the probability of the first of two words, which is yes."""
    return info.architecture in {"qwen3", "qwen3vl"}


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
