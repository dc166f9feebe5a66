"""What the text of one choice becomes on its way to the client."""

from __future__ import annotations

from typing import Protocol

from secureai_appliance.conversations.answers import Delta, FinishReason


class Output(Protocol):
    """Takes the text of a choice as it comes. One per choice, for one thread."""

    @property
    def done(self) -> bool:
        """Whether nothing that may still come is wanted: the rest need not be generated."""

    def feed(self, text: str) -> list[Delta]:
        """What can be sent now."""

    def finish(self, reason: FinishReason) -> tuple[list[Delta], FinishReason]:
        """What was held back, and the reason to name. Raises Failure when the answer isn't what was asked for."""


class PlainText:
    """The text as it is."""

    done = False

    def feed(self, text: str) -> list[Delta]:
        return [Delta(content=text)]

    def finish(self, reason: FinishReason) -> tuple[list[Delta], FinishReason]:
        return [], reason
