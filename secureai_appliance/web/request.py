"""One request as a handler sees it: who asks, what was sent, and the parts of the appliance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.errors import AuthenticationError
from secureai_appliance.store import Transaction
from secureai_appliance.web.parts import Parts

if TYPE_CHECKING:
    from secureai_appliance.web.budget import Budget

B = TypeVar("B")
Q = TypeVar("Q")


@dataclass
class Metered:
    """What a request has used of models, for the usage. Set by whoever runs the model.

    `model` is the one that answered; `read` has the tokens of those that read for it (embedding, reranking).
    """

    model: str = ""
    assistant_id: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    read: dict[str, int] = field(default_factory=dict)


@dataclass
class Request(Generic[B, Q]):
    """`body` and `query` are already decoded into the structs that the route names."""

    parts: Parts
    id: str
    environ: dict[str, Any]
    client: str
    """The client's address."""
    path: dict[str, str]
    body: B
    query: Q
    caller_or_none: Caller | None = None
    raw: bytes = b""
    """The body, for a route with `raw`."""
    form: dict[str, str] = field(default_factory=dict)
    """The fields of a form, for a route with `form=True`."""
    transaction_or_none: Transaction | None = None
    ignored: tuple[str, ...] = ()
    budget: Budget | None = None
    """The tokens that the request may use, on a route that counts among the completions or has models read."""
    metered: Metered = field(default_factory=Metered)
    """Where whoever runs a model notes what was used."""
    disconnected: Callable[[], bool] = field(default=lambda: False)

    def was_read(self, model: str, tokens: int) -> None:
        """Note what a model that only reads was asked to read: the request is one of its own."""
        self.metered.model, self.metered.prompt_tokens = model, tokens
        self.parts.metrics.tokens_embedded.labels(model).inc(tokens)

    def has_read(self, model: str, tokens: int) -> None:
        """Count what a model has read to find something: in the usage under its own name, and in the limits."""
        self.metered.read[model] = self.metered.read.get(model, 0) + tokens
        self.parts.metrics.tokens_embedded.labels(model).inc(tokens)
        if self.budget is not None:
            self.budget.count(tokens)

    @property
    def via(self) -> str:
        """Through which servers the request has come."""
        return str(self.environ.get("HTTP_VIA", ""))

    @property
    def caller(self) -> Caller:
        """Who asks. The gateway has let nobody in without; a public route must not look."""
        if self.caller_or_none is None:
            raise AuthenticationError("This needs an API key.")
        return self.caller_or_none

    @property
    def tx(self) -> Transaction:
        """The request's one write transaction: the change, its idempotency record and its audit row commit together."""
        if self.transaction_or_none is None:
            raise RuntimeError("this route is not declared with writes=True")
        return self.transaction_or_none
