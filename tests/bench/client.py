"""One client on one connection, in a process of its own so that it takes no time from the servers that it measures.

`python -m tests.bench.client PORT PATH SECONDS [NAME:VALUE …]` prints how many answers came in each second.
"""

from __future__ import annotations

import socket
import sys
import time


def ask(connection: socket.socket, request: bytes) -> bytes:
    """Send a request and read its answer to the end; the head of it."""
    connection.sendall(request)
    got = b""
    while (end := got.find(b"\r\n\r\n")) < 0:
        got += _more(connection)
    head = got[:end]
    length = int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
    left = length - (len(got) - end - 4)
    while left > 0:
        left -= len(_more(connection))
    return head


def _more(connection: socket.socket) -> bytes:
    piece = connection.recv(65536)
    if not piece:
        raise ConnectionError("the server closed the connection")
    return piece


def rate(port: int, path: str, seconds: float, headers: list[str]) -> float:
    """Answers per second."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept-Encoding: identity", *headers, "", ""]
    request = "\r\n".join(lines).encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask(connection, request)
        done, begun = 0, time.monotonic()
        while time.monotonic() - begun < seconds:
            head = ask(connection, request)
            assert head.startswith(b"HTTP/1.1 200 "), head
            done += 1
        return done / (time.monotonic() - begun)


if __name__ == "__main__":
    print(rate(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4:]))
