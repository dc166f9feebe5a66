"""Answers that are JSON: which were asked for, and the check of the finished text.

The grammar already allows nothing else; the check is there for the day on which one of the two is wrong. What fails it
does not end as an answer.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from secureai_appliance.conversations.answers import Delta, FinishReason
from secureai_appliance.conversations.messages import ChatRequest
from secureai_appliance.core.errors import InternalError, UnprocessableEntity, ValidationError
from secureai_appliance.inference import json_schema, patterns, schema_keywords
from secureai_appliance.inference.schema_keywords import UnsupportedSchema
from secureai_appliance.inference.tokens import Vocabulary

if TYPE_CHECKING:
    from secureai_appliance.inference.grammar import Grammar

Check = Callable[[Any], None]

MOST_SECONDS_OF_A_CHECK = 2.0
"""Of computing: references that fan out, and long lists, could keep it busy for years."""

_SCHEMA_FIELD = "response_format.json_schema.schema"


class JsonFormat:
    """What `response_format` asks for: `grammar` text, and outputs that check the finished answer."""

    def __init__(self, grammar: str, check: Check) -> None:
        self.grammar = grammar
        self._check = check

    def output(self) -> JsonOutput:
        return JsonOutput(self._check)


class JsonOutput:
    """Sends the text as it comes and checks it at its end. What was cut off by `max_tokens` is told as `length`."""

    done = False

    def __init__(self, check: Check) -> None:
        self._check = check
        self._text: list[str] = []

    def feed(self, text: str) -> list[Delta]:
        self._text.append(text)
        return [Delta(content=text)]

    def finish(self, reason: FinishReason) -> tuple[list[Delta], FinishReason]:
        """Raises InternalError when a finished answer is not what was asked for."""
        if reason == "stop":
            checked("".join(self._text), self._check)
        return [], reason


def checked(text: str, check: Check) -> Any:
    """The JSON value of `text`. Raises InternalError unless it passes `check`."""
    try:
        value = json.loads(text)
        check(value)
    except (ValueError, RecursionError) as cause:
        raise InternalError(
            "The model's answer did not fit the schema, so it is withheld.", code="invalid_output"
        ) from cause
    return value


def json_format(request: ChatRequest) -> JsonFormat | None:
    """What the request asks for; None for text.

    Raises ValidationError for a missing schema, UnprocessableEntity naming the keyword for one that can't be enforced.
    """
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    if request.stop:
        raise UnprocessableEntity(
            "Stop sequences would cut the JSON: leave 'stop' out.", field="stop", constraint="supported"
        )
    if wanted.type == "json_object":
        return JsonFormat(json_schema.to_grammar(True, ("object",)), _require_object)
    if wanted.json_schema is None or wanted.json_schema.schema is None:
        field = "response_format.json_schema" + (".schema" if wanted.json_schema else "")
        raise ValidationError(f"The '{field}' field is required.", field=field, constraint="required")
    schema = wanted.json_schema.schema
    return JsonFormat(grammar_of(schema, _SCHEMA_FIELD), check_of(schema))


def grammar_of(schema: Any, field: str) -> str:
    """The grammar of a schema that stands in `field`. Raises UnprocessableEntity."""
    require_enforceable(schema, field)
    try:
        return json_schema.to_grammar(schema)
    except UnsupportedSchema as refusal:
        raise refused(refusal, field) from refusal


def compiled(vocabulary: Vocabulary, grammar: str, field: str = "response_format") -> Grammar:
    """The grammar as the engine takes it. Raises UnprocessableEntity when llama.cpp finds it too large."""
    from secureai_appliance.inference.grammar import compile_grammar

    try:
        return compile_grammar(vocabulary, grammar)
    except ValueError as cause:
        raise UnprocessableEntity(
            "The schema can't be enforced: it is too large, or repeats too much.",
            field=field,
            constraint="supported",
            code="unsupported_schema",
        ) from cause


def require_enforceable(schema: Any, field: str) -> None:
    """Raises UnprocessableEntity for a keyword that is not enforced, and for what is no JSON schema at all."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        schema_keywords.check_keywords(schema)
        Draft202012Validator.check_schema(schema)
    except UnsupportedSchema as refusal:
        raise refused(refusal, field) from refusal
    except SchemaError as cause:
        path = ".".join([field, *(str(step) for step in cause.absolute_path)])
        raise UnprocessableEntity(
            f"The '{path[:200]}' field is not a JSON schema's.", field=path[:200], constraint="json_schema"
        ) from cause


def refused(refusal: UnsupportedSchema, field: str) -> UnprocessableEntity:
    """Names the keyword and where it is."""
    path = f"{field}.{refusal.path}" if refusal.path else field
    return UnprocessableEntity(
        f"{refusal} It is at '{path[:200]}'.",
        field=path[:200],
        constraint="supported",
        code="unsupported_schema",
        details={"keyword": refusal.keyword},
    )


def check_of(schema: Any) -> Check:
    """A check that raises ValueError for a value that `schema` doesn't allow, or that can't be told in short time."""

    def check(value: Any) -> None:
        from referencing.exceptions import Unresolvable

        _bound.until = time.thread_time() + MOST_SECONDS_OF_A_CHECK
        try:
            error = next(_validator_class()(schema).iter_errors(value), None)
        except Unresolvable as cause:
            raise ValueError("The schema refers to a place that it does not have.") from cause
        if error is not None:
            raise ValueError(error.message)

    return check


def _require_object(value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError("no object")


_bound = threading.local()


@cache
def _validator_class() -> Any:
    from jsonschema import Draft202012Validator, ValidationError, validators

    def pattern(_: Any, wanted: str, value: Any, __: Any) -> Iterator[Any]:
        # not Python's matcher: a caller's pattern could keep it busy for hours
        if isinstance(value, str) and not patterns.matches(patterns.read(wanted), value):
            yield ValidationError("The text does not match the pattern.")

    def unique_items(_: Any, wanted: bool, value: Any, __: Any) -> Iterator[Any]:
        # the library compares each with each
        if wanted and isinstance(value, list) and len({_canonical(item) for item in value}) < len(value):
            yield ValidationError("The list has something twice.")

    keywords = {**Draft202012Validator.VALIDATORS, "pattern": pattern, "uniqueItems": unique_items}
    return validators.extend(Draft202012Validator, {name: _in_time(check) for name, check in keywords.items()})


def _in_time(check: Callable[..., Iterator[Any] | None]) -> Callable[..., Iterator[Any]]:
    """A keyword's check that raises ValueError when all of them together have taken too long."""

    def bounded(*given: Any) -> Iterator[Any]:
        if time.thread_time() > _bound.until:
            raise ValueError("The check takes too long.")
        yield from check(*given) or ()

    return bounded


def _canonical(value: Any) -> str:
    """The same text for what JSON Schema calls equal, another for what it doesn't."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {name: _whole(item) for name, item in value.items()} if isinstance(value, dict) else value
