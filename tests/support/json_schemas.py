"""Random JSON schemas of the keywords that are enforced, and texts drawn from a grammar without a model."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from secureai_appliance.inference.grammar import Grammar
from secureai_appliance.inference.tokens import Vocabulary

Schema = dict[str, Any]

# every other keyword of JSON Schema draft 2020-12, with a value that is right for it
REFUSED: dict[str, Any] = {
    "$id": "https://example.com/x",
    "$anchor": "x",
    "$dynamicRef": "#x",
    "$dynamicAnchor": "x",
    "$vocabulary": {},
    "allOf": [{}],
    "oneOf": [{}],
    "not": {"type": "null"},
    "if": {},
    "then": {},
    "else": {},
    "dependentSchemas": {"a": {}},
    "dependentRequired": {"a": ["b"]},
    "prefixItems": [{}],
    "contains": {},
    "minContains": 1,
    "maxContains": 1,
    "uniqueItems": True,
    "patternProperties": {"^a": {}},
    "propertyNames": {},
    "unevaluatedItems": False,
    "unevaluatedProperties": False,
    "minProperties": 1,
    "maxProperties": 2,
    "multipleOf": 2,
    "format": "date",
    "contentEncoding": "base64",
    "contentMediaType": "text/plain",
    "contentSchema": {},
}

PATTERNS = (
    "^[A-Z]{2}-[0-9]{3}$",
    r"^\d{4}-\d{2}-\d{2}$",
    "^(red|green|blue)$",
    r"^a.c$",
    r'^"[^"\\]{1,4}"$',
    "^x{2,5}y?$",
    r"^[\w.]{1,8}@[a-z]{1,5}\.de$",
    "^yes$|^no$",
)


class Maker:
    """Makes schemas whose values are short, so that a small model comes to an end."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.used: Counter[str] = Counter()

    def schema(self) -> Schema:
        """An object, as structured outputs are."""
        made = self._object(3)
        if self._random.random() < 0.4:
            name = self._random.choice(["$defs", "definitions"])
            made[name] = {"leaf": self._leaf(), "tree": self._tree(name)}
            made["properties"]["link"] = {"$ref": f"#/{name}/{self._random.choice(['leaf', 'tree'])}"}
            self._count(name, "$ref")
        return made

    def _tree(self, name: str) -> Schema:
        self._count("anyOf", "$ref")
        node = {"type": "object", "properties": {"next": {"$ref": f"#/{name}/tree"}}, "additionalProperties": False}
        return {"anyOf": [{"type": "null"}, {"type": "boolean"}, node]}

    def _any(self, depth: int) -> Schema:
        makers: list[Callable[[], Schema]] = [self._leaf, self._leaf, lambda: self._either(depth)]
        if depth:
            makers += [lambda: self._object(depth), lambda: self._array(depth)]
        return self._random.choice(makers)()

    def _object(self, depth: int) -> Schema:
        if depth < 3 and self._random.random() < 0.2:
            self._count("additionalProperties", "type")
            return {"type": "object", "additionalProperties": self._leaf()}
        names = self._random.sample(["a", "name", "größe", 'quo"te', "x y", "items", "n-1"], self._random.randint(1, 3))
        made: Schema = {"type": "object", "properties": {name: self._any(depth - 1) for name in names}}
        self._count("type", "properties")
        if self._random.random() < 0.8:
            made["required"] = [name for name in names if self._random.random() < 0.7]
            self._count("required")
        if self._random.random() < 0.6:
            made["additionalProperties"] = False
            self._count("additionalProperties")
        return made

    def _array(self, depth: int) -> Schema:
        least = self._random.randint(0, 2)
        self._count("type", "items", "minItems", "maxItems")
        return {
            "type": "array",
            "items": self._any(depth - 1),
            "minItems": least,
            "maxItems": least + self._random.randint(0, 2),
        }

    def _either(self, depth: int) -> Schema:
        self._count("anyOf")
        return {"anyOf": [self._any(max(0, depth - 1)) for _ in range(self._random.randint(1, 3))], "description": "x"}

    def _leaf(self) -> Schema:
        return self._random.choice([self._string, self._pattern, self._integer, self._enum, self._const, self._plain])()

    def _string(self) -> Schema:
        least = self._random.randint(0, 3)
        self._count("type", "minLength", "maxLength")
        return {"type": "string", "minLength": least, "maxLength": least + self._random.randint(0, 8)}

    def _pattern(self) -> Schema:
        self._count("type", "pattern")
        return {"type": "string", "pattern": self._random.choice(PATTERNS)}

    def _integer(self) -> Schema:
        low = self._random.randint(-1200, 1200)
        high = low + self._random.choice([2, 7, 90, 4000])
        names = self._random.choice([("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum")])
        self._count("type", *names)
        return {"type": "integer", names[0]: low, names[1]: high}

    def _enum(self) -> Schema:
        self._count("enum")
        return {"enum": self._random.sample(["ä\n", 'b"', -3, 2.5, None, True, [1, "x"], {"k": []}], 3)}

    def _const(self) -> Schema:
        self._count("const")
        return {"const": self._random.choice(["c\\d", 7, None, {"a": [1]}])}

    def _plain(self) -> Schema:
        self._count("type")
        return {"type": self._random.choice(["boolean", "null", "integer", "number", ["integer", "null", "boolean"]])}

    def _count(self, *keywords: str) -> None:
        self.used.update(keywords)


def drawn(grammar: Grammar, vocabulary: Vocabulary, seed: int, most: int = 400) -> str:
    """A text of the grammar, its tokens chosen at random, with a liking for those that end things."""
    generator = np.random.default_rng(seed)
    liking = np.zeros(vocabulary.size, np.float32)
    liking[[vocabulary.eos, *(vocabulary.tokenize(text)[-1] for text in ('"', "}", "]", '"}', '",'))]] = 2.0
    matcher = grammar.matcher()
    tokens: list[int] = []
    try:
        while len(tokens) < most:
            logits = generator.random(vocabulary.size, np.float32) + liking
            permitted = matcher.permitted(logits, 1)
            token = int(permitted[np.argmax(logits[permitted])])
            if vocabulary.is_end(token):
                break
            matcher.accept(token)
            tokens.append(token)
    finally:
        matcher.close()
    return vocabulary.text(tokens)


def accepts(grammar: Grammar, vocabulary: Vocabulary, text: str) -> bool:
    """Whether `text` is one of the grammar's."""
    matcher = grammar.matcher()
    try:
        for token in vocabulary.tokenize(text):
            if not matcher.permits(token):
                return False
            matcher.accept(token)
        return matcher.permits(vocabulary.eos)
    finally:
        matcher.close()


def schemas(count: int, seed: int = 7) -> Iterator[Schema]:
    maker = Maker(seed)
    for _ in range(count):
        yield maker.schema()
