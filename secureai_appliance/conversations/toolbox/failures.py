"""What goes wrong with a tool: told to the model and the caller, never raised to them."""

from __future__ import annotations


class ToolFailure(Exception):
    """A call that came to nothing. `code` is a word for programs; the message holds no secret."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
