"""Requests that are made to succeed once on a running appliance: how one is written."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.running import Response, Running

Recipe = Callable[[Running], Callable[[], Response]]
"""Makes what is needed; what comes back makes the request."""


def on(path: Callable[[Running], str], method: str, further: str = "", body: object = None) -> Recipe:
    """A request on a thing that is made before."""

    def prepare(api: Running) -> Callable[[], Response]:
        made = path(api)
        return lambda: api.ask(method, made + further, body)

    return prepare
