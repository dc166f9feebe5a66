"""Why another server could not be asked, or not to the end."""

from __future__ import annotations


class NetworkError(Exception):
    """Another server could not be asked, or not to the end. The message holds nothing but what the caller gave."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidUrl(NetworkError):
    """Not an http or https address that can be dialled."""


class Blocked(NetworkError):
    """The policy forbids the address."""


class Unreachable(NetworkError):
    """No name, no connection, no certificate to believe, or an answer that breaks off or is not HTTP."""


class TimedOut(NetworkError):
    """It took longer than it may."""


class TooLarge(NetworkError):
    """The answer has more bytes than the caller takes."""


class Cancelled(NetworkError):
    """Ended by `Call.cancel`."""
