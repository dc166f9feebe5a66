"""HTTP to a running appliance, for commands that talk to the server instead of the file."""

from __future__ import annotations

import http.client
import ipaddress
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from secureai_appliance.core.errors import EXIT_USAGE, StartupError
from secureai_appliance.settings import Settings
from secureai_appliance.store import ServeLock

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - addresses to listen on, where the server is here as well
_CONNECT_SECONDS = 10.0
_PIECE = 1024 * 1024


def server_url(settings: Settings) -> str:
    """Where the server of this data folder answers on this machine: as it noted, else as the options say."""
    noted = urlsplit(ServeLock.noted(settings.data_folder.lock) or "")
    host, port = settings.host, settings.port
    # a public_url may lead through a proxy, which the options know nothing of and a key need not pass
    if noted.scheme == "http" and noted.port and _is_address(noted.hostname):
        host, port = str(noted.hostname), noted.port
    host = _ANY.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_address(host: str | None) -> bool:
    try:
        ipaddress.ip_address(host or "")
    except ValueError:
        return False
    return True


class Unreachable(StartupError):
    """The server can't be asked, or its answer broke off."""


class Refused(StartupError):
    """The server's answer is an error. `details` are the error's, `retry_after` is in seconds."""

    def __init__(self, status: int, answer: Any, retry_after: str | None) -> None:
        error = answer.get("error") if isinstance(answer, dict) else None
        fields = error if isinstance(error, dict) else {}
        super().__init__(str(fields.get("message", "The server refused.")))
        self.status = status
        self.details: dict[str, Any] = fields.get("details") or {}
        self.retry_after = int(retry_after) if retry_after and retry_after.isdecimal() else None


class Client:
    """Requests with one API key. What goes wrong is StartupError: one line for the terminal."""

    def __init__(self, url: str, key: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or parts.hostname is None:
            raise StartupError(f"--url takes an address such as http://127.0.0.1:8080, not '{url}'.", EXIT_USAGE)
        if not key:
            raise StartupError("This needs an API key: give --key, or set SECUREAI_KEY.", EXIT_USAGE)
        key = key.strip()  # a file's line break is no part of it
        if not (key.isascii() and key.isprintable()):
            # http.client would say what is wrong with it, and show it
            raise StartupError("The API key has characters that no key has.", EXIT_USAGE)
        self._url, self._key = url, key
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = parts.hostname, parts.port
        self._base = parts.path.rstrip("/").removesuffix("/api/v1") + "/api/v1"

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer's JSON, None for an empty one. Waits as long as it takes."""
        sent = None if body is None else json.dumps(body).encode()
        return self.send(method, path, sent, {"Content-Type": "application/json"}, timeout=None)

    def send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], *, timeout: float | None
    ) -> Any:
        """The same with a body as it is. `timeout` is in seconds, for each wait. Raises Unreachable, Refused."""
        connection, response = self._open(method, path, body, headers, timeout)
        try:
            content = response.read()
        except (OSError, http.client.HTTPException) as cause:
            raise self._broken(cause) from cause
        finally:
            connection.close()
        return _json(content) if content else None

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a streamed answer, as they come. Raises StartupError for the error event, too."""
        json_type = {"Content-Type": "application/json"}
        connection, response = self._open("POST", path, json.dumps(body).encode(), json_type, None)
        try:
            for line in response:
                if not line.startswith(b"data: "):
                    continue
                data = line.removeprefix(b"data: ").strip()
                if data == b"[DONE]":
                    return
                event = _json(data)
                if "error" in event:
                    raise StartupError(_message(event))
                yield event
        except (OSError, http.client.HTTPException) as cause:
            raise self._broken(cause) from cause
        finally:
            connection.close()
        raise StartupError("The server ended the answer before it was complete.")

    def download(self, path: str) -> Iterator[bytes]:
        """The bytes of a file, as they come. Raises Unreachable (also when it breaks off), Refused."""
        connection, response = self._open("GET", path, None, {}, None)
        try:
            while piece := response.read(_PIECE):
                yield piece
        except (OSError, http.client.HTTPException) as cause:
            raise self._broken(cause) from cause
        finally:
            connection.close()

    def _open(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], timeout: float | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = self._kind(self._host, self._port, timeout=_CONNECT_SECONDS)
        headers = {"Authorization": f"Bearer {self._key}", **headers}
        try:
            connection.connect()
            # a model may take minutes to be read
            connection.sock.settimeout(timeout)
            connection.request(method, self._base + path, body, headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise Refused(response.status, _json(response.read()), response.getheader("Retry-After"))
        except (OSError, ValueError, http.client.HTTPException) as cause:
            connection.close()
            raise self._broken(cause) from cause
        except StartupError:
            connection.close()
            raise
        return connection, response

    def _broken(self, cause: Exception) -> Unreachable:
        return Unreachable(f"The server at {self._url} can't be asked: {cause}. Say where it is with --url.")


def model_path(name: str, action: str = "") -> str:
    """The path of a model, or of something that is done with it."""
    return f"/models/{quote(name, safe='')}{action and '/' + action}"


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as cause:
        raise StartupError("What answers there is no SecureAI Appliance.") from cause


def _message(answer: Any) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    return str(error["message"]) if isinstance(error, dict) and "message" in error else "The server refused."
