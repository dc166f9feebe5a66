"""JSON schemas that can be enforced: which they are, and the grammar that enforces them.

The list of keywords is closed: whatever is not on it is refused by name, because leaving a keyword out would give
answers that the caller believes to be checked. The grammar may allow less than the schema (properties come in the
order in which the schema has them, and none that it doesn't name), never more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from secureai_appliance.inference import patterns, schema_rules
from secureai_appliance.inference.schema_keywords import (
    ANNOTATIONS,
    ARRAY,
    DEFINITIONS,
    MAX_ALTERNATIVES,
    MAX_GRAMMAR_BYTES,
    MAX_ITEMS,
    MAX_STRING,
    NUMBER,
    OBJECT,
    STRING,
    TYPES,
    Schema,
    UnsupportedSchema,
    check_keywords,
    join,
)


def to_grammar(schema: Any, types: Iterable[str] = TYPES) -> str:
    """The grammar (GBNF) of all texts that `schema` is enforced with; `types` are those allowed at its root.

    Raises UnsupportedSchema.
    """
    check_keywords(schema)
    return GrammarWriter().text(lambda writer: writer.add_schema(schema, schema, types))


class GrammarWriter:
    """Collects rules. Rules are named by number; those of JSON's own parts by what they are."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}
        self._builtin: set[str] = {"ws"}
        self._needs: dict[str, list[set[str]]] = {}
        self._places: dict[str, str] = {}

    def text(self, add_root: Callable[[GrammarWriter], str]) -> str:
        """The whole grammar, beginning with the rule that `add_root` adds. Raises UnsupportedSchema."""
        try:
            root = add_root(self)
        except RecursionError as cause:
            raise UnsupportedSchema("The schema is nested too deeply.", "$ref", "") from cause
        self._require_ends()
        names = sorted(set().union(*(schema_rules.with_uses(name) for name in self._builtin)))
        lines = [f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._rules.items())]
        text = "\n".join([*lines, *(f"{name} ::= {schema_rules.RULES[name]}" for name in names)]) + "\n"
        if len(text.encode()) > MAX_GRAMMAR_BYTES:
            raise UnsupportedSchema("The schema is too large to be enforced.", "$schema", "")
        return text

    def add(self, body: str) -> str:
        """A rule that needs no other to end; returns its name."""
        name = f"r{len(self._rules)}"
        self._rules[name] = body
        self._needs[name] = [set()]
        return name

    def use(self, name: str) -> str:
        """One of JSON's own parts."""
        self._builtin.add(name)
        return name

    def add_schema(self, schema: Any, document: Any, types: Iterable[str] = TYPES) -> str:
        """The rules of a schema that stands in `document`; returns the name of the first."""
        return _Conversion(self, document).convert(schema, "", (), tuple(types))

    def reserve(self, place: str) -> str:
        name = self.add("")
        self._places[name] = place
        return name

    def define(self, name: str, body: str, needs: list[set[str]]) -> str:
        """`needs`: for each alternative, the rules that it can't end without."""
        self._rules[name] = body
        self._needs[name] = needs
        return name

    def _require_ends(self) -> None:
        """Raises UnsupportedSchema where no finite value fits: a model would write until it is stopped."""
        ending = set(self._builtin)
        while fresh := {
            name
            for name, options in self._needs.items()
            if name not in ending and any(option <= ending for option in options)
        }:
            ending |= fresh
        for name in self._needs:
            if name not in ending:
                raise UnsupportedSchema("No finite value fits the schema.", "$ref", self._places.get(name, ""))


class _Conversion:
    """Of the schemas in one document."""

    def __init__(self, writer: GrammarWriter, document: Any) -> None:
        self._writer = writer
        self._document = document
        self._references: dict[tuple[str, tuple[str, ...]], str] = {}
        self._widths: dict[str, int] = {}

    def convert(self, schema: Any, path: str, direct: tuple[str, ...], types: tuple[str, ...] = TYPES) -> str:
        """`direct`: the references that were followed to get here without a character between."""
        if schema is True:
            schema = {}
        keywords = set(schema) - ANNOTATIONS - set(DEFINITIONS)
        for chief in ("$ref", "anyOf"):
            if chief in keywords:
                self._alone(chief, keywords, path)
                return self._combined(chief, schema, path, direct, types)
        if "const" in keywords or "enum" in keywords:
            return self._choice(schema, keywords, path, types)
        wanted = [kind for kind in self._types_of(schema, keywords, path) if kind in types]
        if not wanted:
            raise UnsupportedSchema("The schema allows none of the types that are possible here.", "type", path)
        if len(wanted) == 1:
            return self._typed(wanted[0], schema, path)
        name = self._writer.reserve(path)
        options = [self._typed(kind, schema, path) for kind in wanted]
        return self._writer.define(name, " | ".join(options), [{option} for option in options])

    def _alone(self, chief: str, keywords: set[str], path: str) -> None:
        others = sorted(keywords - {chief})
        if others:
            raise UnsupportedSchema(
                f"The schema keyword '{others[0]}' can't be enforced beside '{chief}'.",
                others[0],
                join(path, others[0]),
            )

    def _combined(self, chief: str, schema: Schema, path: str, direct: tuple[str, ...], types: tuple[str, ...]) -> str:
        if chief == "$ref":
            return self._reference(schema["$ref"], join(path, "$ref"), direct, types)
        name = self._writer.reserve(path)
        options: list[str] = []
        for index, option in enumerate(schema["anyOf"]):
            options.append(self.convert(option, f"{join(path, 'anyOf')}.{index}", direct, types))
        self._widen(name, options, path)
        return self._writer.define(name, " | ".join(options), [{option} for option in options])

    def _reference(self, reference: Any, path: str, direct: tuple[str, ...], types: tuple[str, ...]) -> str:
        if reference in direct:
            raise UnsupportedSchema("The reference leads back to itself.", "$ref", path)
        known = self._references.get((reference, types))
        if known is not None:
            return known
        target = self._find(reference, path)
        name = self._references[reference, types] = self._writer.reserve(path)
        body = self.convert(target, path, (*direct, reference), types)
        self._widen(name, [body], path)
        return self._writer.define(name, body, [{body}])

    def _widen(self, name: str, options: Iterable[str], path: str) -> None:
        """Alternatives of alternatives multiply, and llama.cpp follows each of them for every token."""
        self._widths[name] = sum(self._widths.get(option, 1) for option in options)
        if self._widths[name] > MAX_ALTERNATIVES:
            raise UnsupportedSchema(f"'anyOf' offers more than {MAX_ALTERNATIVES} alternatives.", "anyOf", path)

    def _find(self, reference: Any, path: str) -> Any:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise UnsupportedSchema("References must be local: '#/$defs/…'.", "$ref", path)
        found = self._document
        steps = [step.replace("~1", "/").replace("~0", "~") for step in reference.split("/")[1:]]
        for step in steps:
            if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            elif isinstance(found, dict) and step in found:
                found = found[step]
            else:
                raise UnsupportedSchema(f"The reference '{reference}' leads nowhere.", "$ref", path)
        # a pointer may also lead into an example or a default, which nobody has looked through
        check_keywords(found, path)
        return found

    def _choice(self, schema: Schema, keywords: set[str], path: str, types: tuple[str, ...]) -> str:
        chief = "const" if "const" in keywords else "enum"
        self._alone(chief, keywords - {"type"}, path)
        values = [schema["const"]] if chief == "const" else schema["enum"]
        wanted = self._types_of({"type": schema["type"]} if "type" in schema else {}, set(), path)
        fitting = [value for value in values if any(kind in wanted and kind in types for kind in _kinds(value))]
        if not fitting:
            raise UnsupportedSchema("No value fits the schema.", chief, join(path, chief))
        try:
            return self._writer.add(" | ".join(schema_rules.json_literal(value) for value in fitting))
        except ValueError as cause:
            raise UnsupportedSchema("A value of the schema can't be written.", chief, join(path, chief)) from cause

    def _types_of(self, schema: Schema, keywords: set[str], path: str) -> list[str]:
        """The schema's types; without any, those that its other keywords speak of (a part of what it allows)."""
        given = schema.get("type")
        if given is None:
            families = ((OBJECT, "object"), (ARRAY, "array"), (STRING, "string"), (NUMBER, "integer"))
            spoken = [kind for family, kind in families if keywords & family]
            return spoken[:1] or list(TYPES)
        kinds = [given] if isinstance(given, str) else list(given)
        return [kind for kind in kinds if not (kind == "integer" and "number" in kinds)]

    def _typed(self, kind: str, schema: Schema, path: str) -> str:
        match kind:
            case "object":
                return self._object(schema, path)
            case "array":
                return self._array(schema, path)
            case "string":
                return self._string(schema, path)
            case "integer":
                return self._integer(schema, path)
        if kind == "number" and (bounds := sorted(set(schema) & NUMBER)):
            raise UnsupportedSchema(
                f"The schema keyword '{bounds[0]}' can be enforced for integers only.",
                bounds[0],
                join(path, bounds[0]),
            )
        return self._writer.use(kind)

    # --- objects

    def _object(self, schema: Schema, path: str) -> str:
        properties: Schema = dict(schema.get("properties", {}))
        required = list(schema.get("required", []))
        extra = schema.get("additionalProperties", True)
        for name in required:
            if name not in properties:
                if extra is False:
                    raise UnsupportedSchema(f"The property '{name}' is required and not allowed.", "required", path)
                properties[name] = extra
        if properties:
            if isinstance(extra, dict) and set(extra) - ANNOTATIONS:
                raise UnsupportedSchema(
                    "The schema keyword 'additionalProperties' with a schema can't be enforced beside 'properties'.",
                    "additionalProperties",
                    join(path, "additionalProperties"),
                )
            return self._members(properties, set(required), path)
        if extra is False:
            return self._writer.add('"{" ws "}"')
        if extra is True:
            return self._writer.use("object")
        return self._map(extra, join(path, "additionalProperties"))

    def _map(self, schema: Any, path: str) -> str:
        name = self._writer.reserve(path)
        value = self.convert(schema, path, ())
        self._writer.use("string")
        member = f'string ":" ws {value}'
        return self._writer.define(name, f'"{{" ws ({member} ("," ws {member})* ws)? "}}"', [set()])

    def _members(self, properties: Schema, required: set[str], path: str) -> str:
        """In the schema's order. `later`: what may follow a member; `begin`: the same before the first one."""
        name = self._writer.reserve(path)
        needs: set[str] = set()
        later = begin = '""'
        for key, schema in reversed(properties.items()):
            value = self.convert(schema, f"{join(path, 'properties')}.{key}", ())
            member = f'{self._key(key, path)} ":" ws {value}'
            if key in required:
                needs.add(value)
                begin = f"{member} {later}"
                later = self._rule(f'"," ws {member} {later}')
            else:
                begin = self._rule(f"{member} {later} | {begin}")
                later = self._rule(f'("," ws {member})? {later}')
        return self._writer.define(name, f'"{{" ws {begin} ws "}}"', [needs])

    def _rule(self, body: str) -> str:
        return self._writer.add(body)

    def _key(self, key: str, path: str) -> str:
        try:
            return schema_rules.json_literal(key)
        except ValueError as cause:
            raise UnsupportedSchema("The name of a property can't be written.", "properties", path) from cause

    # --- arrays, strings, numbers

    def _array(self, schema: Schema, path: str) -> str:
        least, most = self._bounds(schema, "minItems", "maxItems", MAX_ITEMS, path)
        if most == 0:
            return self._writer.add('"[" ws "]"')
        name = self._writer.reserve(path)
        items = join(path, "items")
        item = self.convert(schema["items"], items, ()) if "items" in schema else self._writer.use("value")
        rest = f"{{{max(0, least - 1)},{'' if most is None else most - 1}}}"
        members = f'{item} ("," ws {item}){rest} ws'
        members = members if least else f"({members})?"
        return self._writer.define(name, f'"[" ws {members} "]"', [{item} if least else set()])

    def _string(self, schema: Schema, path: str) -> str:
        lengths = set(schema) & {"minLength", "maxLength"}
        if "pattern" in schema:
            self._alone("pattern", {"pattern", *lengths}, path)
            return self._pattern(schema["pattern"], join(path, "pattern"))
        if not lengths:
            return self._writer.use("string")
        least, most = self._bounds(schema, "minLength", "maxLength", MAX_STRING, path)
        self._writer.use("char")
        return self._writer.add(f'"\\"" char{{{least},{"" if most is None else most}}} "\\""')

    def _pattern(self, pattern: str, path: str) -> str:
        try:
            body = patterns.grammar(patterns.read(pattern), schema_rules.string_char)
        except ValueError as cause:
            raise UnsupportedSchema(f"The schema's 'pattern' can't be enforced: {cause}.", "pattern", path) from cause
        return self._writer.add(f'"\\"" {body} "\\""')

    def _bounds(self, schema: Schema, low: str, high: str, limit: int, path: str) -> tuple[int, int | None]:
        least, most = int(schema.get(low, 0)), schema.get(high)
        for keyword, value in ((low, least), (high, most)):
            if value is not None and value > limit:
                raise UnsupportedSchema(
                    f"The schema keyword '{keyword}' can be enforced up to {limit}.", keyword, join(path, keyword)
                )
        if most is not None and most < least:
            raise UnsupportedSchema(f"'{high}' is less than '{low}'.", high, join(path, high))
        return least, None if most is None else int(most)

    def _integer(self, schema: Schema, path: str) -> str:
        given = sorted(set(schema) & NUMBER)
        if not given:
            return self._writer.use("integer")
        for keyword in given:
            if abs(schema[keyword]) > schema_rules.LARGEST:
                raise UnsupportedSchema(
                    f"The schema keyword '{keyword}' can be enforced up to 10^18.", keyword, join(path, keyword)
                )
        low = [math.ceil(schema["minimum"])] if "minimum" in schema else []
        low += [math.floor(schema["exclusiveMinimum"]) + 1] if "exclusiveMinimum" in schema else []
        high = [math.floor(schema["maximum"])] if "maximum" in schema else []
        high += [math.ceil(schema["exclusiveMaximum"]) - 1] if "exclusiveMaximum" in schema else []
        try:
            return self._writer.add(schema_rules.integers(max(low, default=None), min(high, default=None)))
        except ValueError as cause:
            raise UnsupportedSchema(f"The schema's bounds: {cause}.", given[0], join(path, given[0])) from cause


def _kinds(value: Any) -> tuple[str, ...]:
    match value:
        case None:
            return ("null",)
        case bool():
            return ("boolean",)
        case int():
            return ("integer", "number")
        case float():
            return ("integer", "number") if value.is_integer() else ("number",)
        case str():
            return ("string",)
        case list():
            return ("array",)
        case _:
            return ("object",)
