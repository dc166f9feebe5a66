"""The one tree of failures that a caller may see.

Raise these anywhere; only `web.responses` turns them into HTTP. `message`, `details`, `code` and `param` are shown to
the caller and therefore hold no path, SQL, secret or traceback: put the cause in `raise ... from cause`, which only the
log sees.
"""

from __future__ import annotations

from typing import Any, ClassVar


class Failure(Exception):
    """Something the caller is told about, in the one error shape.

    `details` is the contract's object (`field`: dotted path, `constraint`: word), `code` and `param` OpenAI's fields.
    `retry_after` is in whole seconds and becomes both the body's field and the `Retry-After` header.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        constraint: str | None = None,
        details: dict[str, Any] | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        if field is not None:
            self.details["field"] = field
        if constraint is not None:
            self.details["constraint"] = constraint
        self.code = code
        self.param = param if param is not None else field
        self.retry_after = retry_after
        self.headers: dict[str, str] = dict(headers or {})


class ValidationError(Failure):
    """A missing field, a wrong type, a value out of its bounds."""

    status = 400
    type = "validation_error"


class InvalidJson(Failure):
    """A body that is not JSON, or JSON that no two readers agree on (duplicate keys, NaN, too deep)."""

    status = 400
    type = "invalid_json"


class AuthenticationError(Failure):
    """No credential, or one that is unknown, expired or revoked."""

    status = 401
    type = "authentication_error"


class PermissionDenied(Failure):
    """A valid credential without the right to do this."""

    status = 403
    type = "permission_denied"


class NotFound(Failure):
    """It does not exist, or the caller may not know that it does: the two are never told apart."""

    status = 404
    type = "not_found"


class MethodNotAllowed(Failure):
    """The path exists, not with this method."""

    status = 405
    type = "method_not_allowed"


class RequestTimeout(Failure):
    """The request did not arrive in time."""

    status = 408
    type = "request_timeout"


class Conflict(Failure):
    """It is there already, or something else is in the way."""

    status = 409
    type = "conflict"


class PreconditionFailed(Failure):
    """`If-Match` names another version than the one that is stored."""

    status = 412
    type = "precondition_failed"


class PayloadTooLarge(Failure):
    """A body over the bound of its route."""

    status = 413
    type = "payload_too_large"


class UnsupportedMediaType(Failure):
    """A body that says it is something else than the route reads."""

    status = 415
    type = "unsupported_media_type"


class MisdirectedRequest(Failure):
    """A `Host` that is not ours (DNS rebinding)."""

    status = 421
    type = "misdirected_request"


class UnprocessableEntity(Failure):
    """Well-formed, but it cannot be done."""

    status = 422
    type = "unprocessable_entity"


class RateLimitExceeded(Failure):
    """Over a limit; `retry_after` says for how long."""

    status = 429
    type = "rate_limit_exceeded"


class HeadersTooLarge(Failure):
    """Request headers over the bound."""

    status = 431
    type = "headers_too_large"


class InternalError(Failure):
    """A defect of ours. The cause is in the log under the request id."""

    status = 500
    type = "internal_error"


class NotImplementedMethod(Failure):
    """A method or transfer coding that no route knows."""

    status = 501
    type = "not_implemented"


class ServiceUnavailable(Failure):
    """Overloaded, in maintenance, or storage failed; nothing was changed."""

    status = 503
    type = "service_unavailable"


def every_failure() -> list[type[Failure]]:
    """All types of failure, by status; the documentation and its test are made from it."""
    return sorted(Failure.__subclasses__(), key=lambda kind: (kind.status, kind.type))


class StartupError(Exception):
    """The program can't start or a command can't run: one line that says what to do, and the exit code."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


EXIT_USAGE = 2
EXIT_ALREADY_RUNNING = 3
EXIT_MASTER_KEY = 4
EXIT_NEWER_SCHEMA = 5
EXIT_PORT = 6
