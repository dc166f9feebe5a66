"""Clock, identifiers, paths, errors."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from secureai_appliance.core import errors
from secureai_appliance.core.clock import parse_rfc3339, rfc3339
from secureai_appliance.core.ids import hash_secret, new_id, new_secret
from secureai_appliance.core.paths import DataFolder, default_data_folder


def test_times_are_whole_seconds_in_utc() -> None:
    assert rfc3339(1_773_570_600.9) == "2026-03-15T10:30:00Z"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-03-15T10:30:00Z", "2026-03-15T10:30:00Z"),
        ("2026-03-15T12:30:00+02:00", "2026-03-15T10:30:00Z"),
        ("2026-03-15", "2026-03-15T00:00:00Z"),
    ],
)
def test_a_date_or_date_time_is_read_as_utc(text: str, same: str) -> None:
    assert rfc3339(parse_rfc3339(text)) == same


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="Invalid isoformat"):
        parse_rfc3339("tomorrow")


def test_identifiers_carry_their_prefix_and_never_repeat() -> None:
    made = {new_id("chat") for _ in range(1000)}
    assert len(made) == 1000
    assert all(one.startswith("chat-") and one.removeprefix("chat-").isalnum() for one in made)


def test_a_key_has_more_than_40_random_characters_and_its_hash_is_not_it() -> None:
    secret = new_secret("sk-")
    assert len(secret.removeprefix("sk-")) > 40
    assert secret.encode() not in hash_secret(secret)
    assert hash_secret(secret) == hash_secret(secret)


def test_the_data_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "deep" / "data")
    folder.create()
    assert stat.S_IMODE(folder.root.stat().st_mode) == 0o700
    assert folder.models.is_dir()
    assert folder.tmp.is_dir()


def test_a_data_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(errors.StartupError, match="--data DIR"):
        DataFolder(tmp_path / "file" / "data").create()


def test_leftovers_of_an_earlier_run_are_thrown_away(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.create()
    (folder.tmp / "old").write_text("x")
    folder.empty_tmp()
    assert list(folder.tmp.iterdir()) == []


def test_the_default_folder_follows_xdg_and_ignores_a_relative_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert default_data_folder() == Path("/somewhere/secureai")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_data_folder() == Path.home() / ".local/share/secureai"


def test_every_failure_has_a_type_of_its_own() -> None:
    types = [kind.type for kind in errors.every_failure()]
    assert len(types) == len(set(types))
    assert {400, 401, 403, 404, 409, 422, 429, 500, 503} <= {kind.status for kind in errors.every_failure()}


def test_the_field_of_a_failure_is_also_the_parameter_for_openai_clients() -> None:
    failure = errors.ValidationError("The 'model' field is required.", field="model", constraint="required")
    assert failure.details == {"field": "model", "constraint": "required"}
    assert failure.param == "model"
