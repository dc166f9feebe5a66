from __future__ import annotations

import stat
from pathlib import Path

import pytest

from secureai_appliance.core.errors import EXIT_MASTER_KEY, StartupError
from secureai_appliance.core.sealing import Sealer, create_master_key, read_master_key


def test_a_sealed_secret_opens_again_and_holds_no_plaintext() -> None:
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal(b"the webhook secret", "webhooks.secret:hook-1")
    assert b"webhook secret" not in sealed
    assert sealer.open(sealed, "webhooks.secret:hook-1") == b"the webhook secret"


def test_the_same_secret_never_seals_to_the_same_bytes() -> None:
    sealer = Sealer(b"k" * 32)
    assert sealer.seal(b"x", "c") != sealer.seal(b"x", "c")


def test_a_sealed_secret_moved_to_another_row_does_not_open() -> None:
    sealer = Sealer(b"k" * 32)
    with pytest.raises(ValueError, match="another key or for another place"):
        sealer.open(sealer.seal(b"x", "row 1"), "row 2")


def test_another_master_key_opens_nothing() -> None:
    with pytest.raises(ValueError, match="another key"):
        Sealer(b"b" * 32).open(Sealer(b"a" * 32).seal(b"x", "c"), "c")


def test_an_altered_secret_does_not_open() -> None:
    sealer = Sealer(b"k" * 32)
    sealed = bytearray(sealer.seal(b"x", "c"))
    sealed[-1] ^= 1
    with pytest.raises(ValueError, match="another key"):
        sealer.open(bytes(sealed), "c")


def test_keys_for_different_purposes_differ_and_stay_the_same() -> None:
    sealer = Sealer(b"k" * 32)
    assert sealer.derive("audit") != sealer.derive("seal")
    assert sealer.derive("audit") == Sealer(b"k" * 32).derive("audit")


def test_a_new_master_key_is_for_its_owner_alone_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = create_master_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_master_key(path) == key
    with pytest.raises(FileExistsError):
        create_master_key(path)
    assert read_master_key(path) == key


@pytest.mark.parametrize("content", [None, b"", b"short", b"x" * 33])
def test_a_missing_or_wrong_key_file_is_exit_code_4(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "master.key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartupError) as raised:
        read_master_key(path)
    assert raised.value.exit_code == EXIT_MASTER_KEY
