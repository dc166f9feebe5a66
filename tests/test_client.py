from __future__ import annotations

from pathlib import Path

import pytest

from secureai_appliance.client import Client, server_url
from secureai_appliance.core.errors import EXIT_USAGE, StartupError
from secureai_appliance.settings import Settings
from secureai_appliance.store import ServeLock


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://0.0.0.0:9000", "http://127.0.0.1:9000"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("https://ai.example.org", "http://127.0.0.1:8080"),
        ("http://ai.example.org:9000", "http://127.0.0.1:8080"),
    ],
)
def test_the_server_is_asked_where_it_noted_unless_that_is_a_public_name(
    tmp_path: Path, noted: str, expected: str
) -> None:
    lock = ServeLock(tmp_path / "serve.lock")
    lock.acquire()
    lock.note(noted)
    assert server_url(Settings(data=str(tmp_path))) == expected
    lock.release()


def test_without_a_note_the_options_say_where(tmp_path: Path) -> None:
    assert server_url(Settings(data=str(tmp_path), host="0.0.0.0", port=1234)) == "http://127.0.0.1:1234"


@pytest.mark.parametrize("key", ["sk-secret\nsk-secret", "sk-secret\x00", "sk-s\u00e9cret"])
def test_a_key_that_no_key_can_be_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(StartupError) as refused:
        Client("http://127.0.0.1:9", key)
    assert refused.value.exit_code == EXIT_USAGE
    assert "cret" not in refused.value.message


def test_the_line_break_of_a_file_is_no_part_of_the_key() -> None:
    with pytest.raises(StartupError) as unreachable:
        Client("http://127.0.0.1:9", "sk-secret\n").ask("GET", "/me")
    assert "can't be asked" in unreachable.value.message
    assert "sk-secret" not in unreachable.value.message
