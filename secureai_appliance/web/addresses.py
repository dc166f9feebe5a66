"""The address of the appliance as its clients write it."""

from __future__ import annotations

from secureai_appliance.settings import Settings

_ANY = {"", "0.0.0.0", "::"}  # noqa: S104 (compared, not bound)


def public_url(settings: Settings, port: int) -> str:
    """The only source of links: what the administrator set, else `http://HOST:PORT` (no `/` at the end)."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = "127.0.0.1" if settings.host in _ANY else settings.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
