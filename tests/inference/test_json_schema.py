"""Which schemas are enforced, and that their grammars allow nothing else."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.grammar import Grammar
from secureai_appliance.inference.json_schema import to_grammar
from secureai_appliance.inference.schema_keywords import ANNOTATIONS, KEYWORDS, UnsupportedSchema
from tests.support.json_schemas import PATTERNS, REFUSED, Maker, accepts, drawn


def grammar(engine: Engine, schema: Any) -> Grammar:
    return Grammar(engine.vocabulary, to_grammar(schema))


def draw_from(engine: Engine, count: int) -> None:
    maker = Maker(7)
    for seed in range(count):
        schema = maker.schema()
        text = drawn(grammar(engine, schema), engine.vocabulary, seed)
        try:
            value = json.loads(text)
        except ValueError:
            pytest.fail(f"{text!r} is not JSON: {schema}")
        jsonschema.Draft202012Validator(schema).validate(value)


def test_texts_drawn_from_a_schemas_grammar_fit_the_schema(chat_engine: Engine) -> None:
    draw_from(chat_engine, 40)


@pytest.mark.soak
def test_texts_drawn_from_the_grammars_of_many_schemas_fit_them(chat_engine: Engine) -> None:
    draw_from(chat_engine, 1000)


def test_two_hundred_random_schemas_use_each_enforced_keyword_at_least_five_times() -> None:
    maker = Maker(7)
    for _ in range(200):
        maker.schema()
    assert {keyword for keyword in KEYWORDS if maker.used[keyword] < 5} == set()


@pytest.mark.parametrize("keyword", REFUSED)
def test_every_other_keyword_is_refused_by_name_wherever_it_stands(keyword: str) -> None:
    bad = {"type": "string", keyword: REFUSED[keyword]}
    places: list[tuple[Any, str]] = [
        (bad, keyword),
        ({"type": "object", "properties": {"p": bad}}, f"properties.p.{keyword}"),
        ({"type": "array", "items": {"anyOf": [bad]}}, f"items.anyOf.0.{keyword}"),
        ({"type": "object", "additionalProperties": bad}, f"additionalProperties.{keyword}"),
        ({"type": "null", "$defs": {"unused": bad}}, f"$defs.unused.{keyword}"),
        ({"$ref": "#/examples/0", "examples": [bad]}, f"$ref.{keyword}"),
    ]
    for schema, path in places:
        with pytest.raises(UnsupportedSchema) as refusal:
            to_grammar(schema)
        assert (refusal.value.keyword, refusal.value.path) == (keyword, path)


def test_the_keywords_of_the_draft_are_all_either_enforced_refused_or_annotations() -> None:
    known = set(jsonschema.Draft202012Validator.META_SCHEMA["properties"])
    for part in jsonschema.Draft202012Validator.META_SCHEMA["allOf"]:
        uri = "https://json-schema.org/draft/2020-12/" + part["$ref"]
        known |= set(jsonschema.validators.SPECIFICATIONS.contents(uri)["properties"])
    known -= {"dependencies", "$recursiveAnchor", "$recursiveRef"}  # of older drafts
    assert known <= KEYWORDS | ANNOTATIONS | set(REFUSED)


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "string", "nonsense": 1}, "nonsense"),
        ({"$ref": "#"}, "$ref"),
        ({"$ref": "#/$defs/none"}, "$ref"),
        ({"$ref": "https://example.com/schema"}, "$ref"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}}, "$ref"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "$ref"),
        ({"$ref": "#/$defs/a", "type": "object", "$defs": {"a": {}}}, "type"),
        ({"anyOf": [{}], "minimum": 1}, "minimum"),
        ({"type": "number", "minimum": 1}, "minimum"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "maximum"),
        ({"type": "integer", "minimum": 10**19}, "minimum"),
        ({"type": "array", "maxItems": 257}, "maxItems"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "maxItems"),
        ({"type": "string", "maxLength": 100_000}, "maxLength"),
        ({"type": "string", "pattern": "a", "maxLength": 3}, "maxLength"),
        ({"type": "string", "enum": [1, 2]}, "enum"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "required"),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "null"}}, "additionalProperties"),
        ({"type": "object", "properties": {"a": False}}, "false"),
        ({"const": "\ud800"}, "const"),
    ],
)
def test_what_cannot_be_enforced_as_it_stands_names_the_keyword(schema: Any, keyword: str) -> None:
    with pytest.raises(UnsupportedSchema) as refusal:
        to_grammar(schema)
    assert refusal.value.keyword == keyword


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "integer", "minimum": -3, "maximum": 12}, ["-3", "0", "9", "12"], ["-4", "13", "012", "-0"]),
        ({"type": "integer", "minimum": 95, "maximum": 1203}, ["95", "100", "999", "1203"], ["94", "1204", "1210"]),
        ({"type": "integer", "exclusiveMinimum": 5}, ["6", "10", "123456"], ["5", "-7"]),
        ({"type": "integer", "maximum": -20}, ["-20", "-100"], ["-19", "0", "5"]),
        ({"type": "integer", "minimum": 1.5, "maximum": 2.5}, ["2"], ["1", "3"]),
        ({"type": "number"}, ["-1.5e+3", "0.25", "17"], ["1.", ".5", "01"]),
        (
            {"type": "string", "minLength": 1, "maxLength": 2},
            ['"a"', '"äß"', '"\\u00e9x"'],
            ['""', '"abc"', '"\\ud800"'],
        ),
        ({"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 2}, ["[null, null]"], ["[]", "[1]"]),
        ({"type": ["null", "boolean"]}, ["null", "true"], ["0"]),
        ({"type": "object"}, ["{}", '{"a": [1, {"b": null}]}'], ["[]"]),
        ({"type": "object", "additionalProperties": False}, ["{}"], ['{"a": 1}']),
        (
            {"properties": {"a": {"const": 1}, "b": {"const": 2}}, "required": ["b"]},
            ['{"a":1,"b":2}', '{"b": 2}'],
            ["{}", '{"a":1}', '{"a":1,}', '{"b":2,"c":3}', '{,"b":2}'],
        ),
        (
            {"properties": {"a": {"const": 1}, "b": {"const": 2}}},
            ["{}", '{"a":1}', '{"b":2}', '{"a":1,"b":2}'],
            ['{"a":1 "b":2}'],
        ),
    ],
)
def test_a_grammar_takes_what_fits_and_nothing_else(
    chat_engine: Engine, schema: Any, right: list[str], wrong: list[str]
) -> None:
    made = grammar(chat_engine, schema)
    assert [text for text in right if not accepts(made, chat_engine.vocabulary, text)] == []
    assert [text for text in wrong if accepts(made, chat_engine.vocabulary, text)] == []


@pytest.mark.parametrize("pattern", ["^((a?){16}){16}$", "^(a*)*$", "^(a?b?|c*|d?){9}(a?|b?|c?)(a?|b?|c?)$", "^(|a)+$"])
def test_what_may_be_empty_in_many_ways_takes_no_longer(chat_engine: Engine, pattern: str) -> None:
    made = grammar(chat_engine, {"type": "string", "pattern": pattern})  # as written the engine would follow 17^16 ways
    assert accepts(made, chat_engine.vocabulary, '""')
    assert accepts(made, chat_engine.vocabulary, '"aaa"')
    assert not accepts(made, chat_engine.vocabulary, '"x"')


def test_alternatives_that_multiply_are_refused() -> None:
    definitions: dict[str, Any] = {"d0": {"type": "null"}}
    for level in range(1, 40):
        definitions[f"d{level}"] = {"anyOf": [{"$ref": f"#/$defs/d{level - 1}"}, {"$ref": f"#/$defs/d{level - 1}"}]}
    with pytest.raises(UnsupportedSchema) as refusal:
        to_grammar({"$ref": "#/$defs/d39", "$defs": definitions})
    assert refusal.value.keyword == "anyOf"


def test_a_recursive_schema_is_enforced(chat_engine: Engine) -> None:
    tree = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}, "required": ["kids"]}
    made = grammar(chat_engine, tree)
    assert accepts(made, chat_engine.vocabulary, '{"kids": [{"kids": []}, {"kids": [{"kids": []}]}]}')
    assert not accepts(made, chat_engine.vocabulary, '{"kids": [1]}')


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_found_in_every_text_drawn_from_it(chat_engine: Engine, pattern: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    for seed in range(3):
        value = json.loads(drawn(grammar(chat_engine, schema), chat_engine.vocabulary, seed))
        jsonschema.Draft202012Validator(schema).validate(value)


def test_a_control_token_is_never_taken_for_the_text_of_its_name(chat_engine: Engine) -> None:
    vocabulary = chat_engine.vocabulary
    matcher = grammar(chat_engine, {"const": "<|im_start|>"}).matcher()
    matcher.accept(vocabulary.tokenize('"')[0])
    token = vocabulary.tokenize("<|im_start|>", control=True)[0]
    assert not matcher.permits(token)
    with pytest.raises(ValueError, match="forbids"):
        matcher.accept(token)
    matcher.close()


def test_a_grammar_that_llama_cpp_cannot_read_or_that_is_too_large_is_refused(chat_engine: Engine) -> None:
    for text in ("root ::= (", "no root", 'root ::= root "a"', 'root ::= "' + "a" * 70_000 + '"'):
        with pytest.raises(ValueError, match="grammar"):
            Grammar(chat_engine.vocabulary, text)
