"""The request of a chat completion, as OpenAI's clients send it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.core.errors import UnprocessableEntity, ValidationError
from secureai_appliance.inference.generation import Priority
from secureai_appliance.inference.sampling import Sampling
from secureai_appliance.inference.tokens import Vocabulary

Metadata = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]
"""OpenAI's bounds."""

MAX_STOPS = 16
MAX_STOP_LENGTH = 1_000

DEFAULTS = Sampling(temperature=0.8, top_p=0.95, top_k=40, min_p=0.05)
"""llama.cpp's own. Small models talk nonsense, and never stop, when every token of the vocabulary may be drawn."""


class ContentPart(msgspec.Struct, kw_only=True):
    """One part of a message. Text is what the bundled models read."""

    type: str
    text: str | None = None


class CalledFunction(msgspec.Struct, kw_only=True):
    """Which function was called, and its arguments as JSON text."""

    name: str
    arguments: str


class CalledTool(msgspec.Struct, kw_only=True):
    """A call that the model made earlier."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ToolFunction(msgspec.Struct, kw_only=True):
    """A function that the model may call. `strict`: its arguments are enforced, or the request is refused."""

    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}(?!\s)$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, kw_only=True):
    """Something that the client can do for the model."""

    type: Literal["function"]
    function: ToolFunction


class ToolName(msgspec.Struct, kw_only=True):
    """Names a function."""

    name: str


class NamedTool(msgspec.Struct, kw_only=True):
    """The one function that has to be called."""

    type: Literal["function"]
    function: ToolName


class Message(msgspec.Struct, kw_only=True):
    """One message of the conversation so far."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[CalledTool] | None = None
    tool_call_id: str | None = None


class StreamOptions(msgspec.Struct, kw_only=True):
    """`include_usage`: one more chunk before the end, with the counts of tokens and no choices."""

    include_usage: bool = False


class JsonSchemaFormat(msgspec.Struct, kw_only=True):
    """A JSON schema that the answer keeps to; `strict` or not, it is enforced or refused."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, kw_only=True):
    """`json_object`: any JSON object; `json_schema`: what the schema describes."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class SamplingParameters(msgspec.Struct, kw_only=True):
    """How an answer is chosen and where it ends."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None


class SamplingFields(SamplingParameters, kw_only=True):
    """What `/chat/completions` and `/completions` have in common."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    logit_bias: Annotated[dict[str, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=1024)] | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None

    @property
    def priority(self) -> Priority:
        """`flex` has time: it runs when nothing interactive wants the place."""
        return Priority.BATCH if self.service_tier == "flex" else Priority.INTERACTIVE

    @property
    def counts_usage(self) -> bool:
        """Whether a stream ends with the counts of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class Retrieval(msgspec.Struct, omit_defaults=True, kw_only=True):
    """How an answer is made from documents; what is left out is up to the appliance.

    `min_score` (0 to 1): how relevant a passage must be. `scope`: the best passages, a document as a whole (as a
    summary needs it), or, with `auto`, what the question asks for. `document_tokens`: so much of a document as a whole
    is read. `document_ids`: only these. `when_missing`: what happens when nothing is relevant; to ask the model all the
    same is usual where it has tools. `rerank`: whether a rerank model puts the passages into order; left out: if there
    is one.
    """

    top_k: Annotated[int, Meta(ge=1, le=50)] | None = None
    mode: Literal["hybrid", "vector", "keyword"] | None = None
    min_score: Annotated[float, Meta(ge=0, le=1)] | None = None
    scope: Literal["auto", "passages", "document"] | None = None
    document_tokens: Annotated[int, Meta(ge=100, le=1_000_000)] | None = None
    document_ids: Annotated[list[str], Meta(min_length=1, max_length=100)] | None = None
    when_missing: Literal["say_so", "ask_model"] | None = None
    rerank: bool | None = None


class ChatRequest(SamplingFields, kw_only=True):
    """`POST /chat/completions`. Fields that are not here are ignored and named in `X-SecureAI-Ignored`.

    `chat_id`: the chat that goes on, with `messages` behind those that it has. `store`: keep the conversation in a new
    chat, with `metadata`. `knowledge_base_ids`: bases (ids or slugs) to answer from, in place of the assistant's.
    """

    messages: Annotated[list[Message], Meta(min_length=1, max_length=10_000)]
    model: Annotated[str, Meta(max_length=200, description="May be left out with `assistant_id`.")] = ""
    assistant_id: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | UnsetType | None = UNSET
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    store: bool | None = None
    chat_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    knowledge_base_ids: (
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(max_length=50)] | None
    ) = None
    retrieval: Retrieval | None = None
    metadata: Metadata | None = None
    modalities: list[str] | None = None
    audio: Any = None
    prediction: Any = None
    web_search_options: Any = None


def refuse_unsupported(request: ChatRequest) -> None:
    """Raise UnprocessableEntity for a parameter that would change the answer and that can't be honoured.

    A parameter at its neutral value passes, because clients send those without meaning anything by it.
    """
    asked: dict[str, bool] = {
        "functions": bool(request.functions),
        "function_call": request.function_call not in (None, "none", "auto"),
        "modalities": request.modalities not in (None, [], ["text"]),
        "audio": request.audio is not None,
        "prediction": request.prediction is not None,
        "web_search_options": request.web_search_options is not None,
    }
    for name, is_asked in asked.items():
        if is_asked:
            raise unsupported(name)


def unsupported(name: str) -> UnprocessableEntity:
    """The failure for a parameter that is known and can't be honoured."""
    return UnprocessableEntity(
        f"The '{name}' parameter is not supported by this version, and ignoring it would change the answer.",
        code="unsupported_parameter",
        field=name,
        constraint="supported",
    )


def alternatives(request: ChatRequest) -> int | None:
    """How many likely tokens to tell beside each one; None: no logprobs. Raises ValidationError."""
    if request.top_logprobs and not request.logprobs:
        raise ValidationError(
            "The 'top_logprobs' field is only allowed when 'logprobs' is true.",
            field="top_logprobs",
            constraint="requires",
        )
    return (request.top_logprobs or 0) if request.logprobs else None


def sampling(request: SamplingFields) -> Sampling:
    """How tokens are chosen; what the request leaves out is as `DEFAULTS` has it.

    Raises ValidationError for a bias on something that is no token.
    """
    return Sampling(
        temperature=DEFAULTS.temperature if request.temperature is None else request.temperature,
        top_p=DEFAULTS.top_p if request.top_p is None else request.top_p,
        top_k=DEFAULTS.top_k if request.top_k is None else request.top_k,
        min_p=DEFAULTS.min_p if request.min_p is None else request.min_p,
        seed=request.seed,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        repeat_penalty=request.repeat_penalty or 1.0,
        logit_bias=tuple((_token_id(name), value) for name, value in (request.logit_bias or {}).items()),
    )


def sampling_of_choice(sampling: Sampling, index: int) -> Sampling:
    """The same for the choice at `index`: with a seed of its own, or all would be alike."""
    return sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + index)


def check_bias(sampling: Sampling, vocabulary: Vocabulary) -> None:
    """Raises ValidationError for a bias on a token that the model hasn't."""
    for token, _ in sampling.logit_bias:
        if token >= vocabulary.size:
            raise ValidationError(
                f"The model has no token {token}; its ids are from 0 to {vocabulary.size - 1}.",
                field=f"logit_bias.{token}",
                constraint="maximum",
            )


def _token_id(name: str) -> int:
    if not (name.isascii() and name.isdecimal() and len(name) < 10):
        raise ValidationError(
            "The names in 'logit_bias' must be token ids.", field=f"logit_bias.{name[:40]}", constraint="type"
        )
    return int(name)


def stops(request: SamplingFields) -> tuple[str, ...]:
    """The stop sequences. Raises ValidationError for an empty or an endless one, or too many."""
    given = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    if len(given) > MAX_STOPS:
        raise ValidationError(
            f"There may be at most {MAX_STOPS} stop sequences.", field="stop", constraint="max_length"
        )
    if "" in given:
        raise ValidationError("A stop sequence must not be empty.", field="stop", constraint="min_length")
    if any(len(stop) > MAX_STOP_LENGTH for stop in given):
        raise ValidationError(
            f"A stop sequence may have at most {MAX_STOP_LENGTH:,} characters.", field="stop", constraint="max_length"
        )
    return given


def for_template(messages: list[Message]) -> list[dict[str, Any]]:
    """Role and text of each message, with calls and the ids of their results, as chat templates take them.

    Raises UnprocessableEntity for what a text model can't read, ValidationError for a message without text.
    """
    called: dict[str, str] = {}
    made: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        shown: dict[str, Any] = {"role": message.role, "content": _text(where, message)}
        if message.role == "tool":
            shown |= _result(where, message, called)
        if message.role == "assistant" and message.tool_calls:
            shown["tool_calls"] = [_call(f"{where}.tool_calls.{at}", c) for at, c in enumerate(message.tool_calls)]
            called |= {call.id: call.function.name for call in message.tool_calls}
        made.append(shown)
    return made


def plain_text(message: Message) -> str:
    """The text of a message; '' where there is none. Nothing is refused: see `for_template`."""
    if isinstance(message.content, list):
        return "".join(part.text or "" for part in message.content)
    return message.content or ""


def _result(where: str, message: Message, called: dict[str, str]) -> dict[str, Any]:
    if message.tool_call_id is None:
        raise ValidationError(
            f"The '{where}.tool_call_id' field is required.", field=f"{where}.tool_call_id", constraint="required"
        )
    name = message.name or called.get(message.tool_call_id)
    return {"tool_call_id": message.tool_call_id, **({} if name is None else {"name": name})}


def _call(where: str, call: CalledTool) -> dict[str, Any]:
    """Arguments as a value: templates write JSON of them, and a text would become a text in quotes."""
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except (ValueError, RecursionError) as cause:
        raise _not_an_object(where) from cause
    if not isinstance(arguments, dict):
        raise _not_an_object(where)
    return {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": arguments}}


def _not_an_object(where: str) -> ValidationError:
    field = f"{where}.function.arguments"
    return ValidationError(f"The '{field}' field must be JSON of an object.", field=field, constraint="type")


def _text(where: str, message: Message) -> str:
    if message.role == "function":
        raise UnprocessableEntity(
            "The role 'function' is not supported: use 'tool'.",
            code="unsupported_parameter",
            field=f"{where}.role",
            constraint="supported",
        )
    if message.content is None:
        if message.role == "assistant" and message.tool_calls:
            return ""
        raise ValidationError(
            f"The '{where}.content' field is required.", field=f"{where}.content", constraint="required"
        )
    if isinstance(message.content, str):
        return message.content
    return "".join(_part(f"{where}.content.{at}", part) for at, part in enumerate(message.content))


def _part(where: str, part: ContentPart) -> str:
    if part.type != "text":
        raise UnprocessableEntity(
            f"The model reads text only, not '{part.type}'.",
            code="unsupported_content",
            field=f"{where}.type",
            constraint="supported",
        )
    if part.text is None:
        raise ValidationError(f"The '{where}.text' field is required.", field=f"{where}.text", constraint="required")
    return part.text
