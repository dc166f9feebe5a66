"""Through which appliances a request has come, so that remote models which lead in a circle are noticed.

Each one adds a name of its own to `Via` (RFC 9110, 7.6.3). Without it one request would come back until all places are
taken, and hold them until the first wait is over.
"""

from __future__ import annotations

import re
import secrets

from secureai_appliance.core.errors import UnprocessableEntity

_NAME = re.compile(r"\bsecureai-[0-9a-f]{16}\b", re.ASCII)
_MOST = 8


class Hops:
    """This appliance on the way of requests, under a name that nobody else has."""

    def __init__(self) -> None:
        self._name = f"secureai-{secrets.token_hex(8)}"

    def onward(self, via: str) -> str:
        """The `Via` to send on for a request that came with `via`.

        Raises UnprocessableEntity when it has been here before, or came through too many.
        """
        passed: list[str] = _NAME.findall(via)
        if self._name in passed or len(passed) >= _MOST:
            raise UnprocessableEntity("The remote model leads in a circle, back to where it is.", code="remote_loop")
        # what other proxies wrote concerns nobody behind us
        return ", ".join(f"1.1 {name}" for name in [*passed, self._name])
