"""A client that sends bytes and reads what comes, and a server for it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from secureai_appliance.web.server import Server, listen
from tests.support.web import App, Received


@dataclass
class Client:
    """A raw connection to a server."""

    port: int
    socket: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        self._read = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, method: str, target: str, body: bytes = b"", *headers: str) -> Received:
        self.send(request_bytes(method, target, body, *headers))
        return self.receive(has_body=method != "HEAD")

    def until(self, mark: bytes) -> bytes:
        """What arrives up to and including `mark`."""
        while mark not in self._read:
            piece = self.socket.recv(65536)
            assert piece, f"closed after {self._read[-300:]!r}"
            self._read += piece
        at = self._read.index(mark) + len(mark)
        found, self._read = self._read[:at], self._read[at:]
        return found

    def receive(self, *, has_body: bool = True) -> Received:
        """One answer with a Content-Length."""
        first, *lines = self.until(b"\r\n\r\n").decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0)) if has_body else 0
        while len(self._read) < length:
            piece = self.socket.recv(65536)
            assert piece
            self._read += piece
        body, self._read = self._read[:length], self._read[length:]
        return Received(int(first.split()[1]), headers, body)

    def rest(self) -> bytes:
        """Everything until the server closes."""
        while piece := self.socket.recv(65536):
            self._read += piece
        return self._read

    def close(self) -> None:
        self.socket.close()


def request_bytes(method: str, target: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@contextmanager
def serving(app: App, grace: float = 3.0) -> Iterator[Server]:
    """The application behind a real server on a free port."""
    server = Server(app.parts, listen("127.0.0.1", 0), app.gateway)
    server.start()
    try:
        yield server
    finally:
        server.stop(grace)


def talk(app: App) -> bytes:
    """A request for a stream."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "a"}], "stream": True}).encode()
    return request_bytes("POST", "/api/v1/talk", body, f"Authorization: Bearer {app.key}")
