"""Runtime settings: cached, checked, all or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from secureai_appliance.core.errors import NotFound, ValidationError
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance.audit import SYSTEM, Actor
from secureai_appliance.governance.config_table import SETTINGS, Setting
from secureai_appliance.governance.configs import MASK, Configs, ConfigsExport
from secureai_appliance.store import Store
from tests.support.audit import newest, open_audited, rows
from tests.support.clock import FakeClock
from tests.support.rows import write_user


class Inner(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Fields with defaults."""

    most: Annotated[int, Meta(ge=1)] | None = 5
    least: int = 1


class Outer(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A struct in a struct."""

    one: Inner = Inner(most=50, least=10)
    two: Inner = Inner()


def even(value: int) -> None:
    if value % 2:
        raise ValueError("must be even.")


TABLE = (
    Setting("a.flag", bool, True, "A flag."),
    Setting("a.number", Annotated[int, Meta(ge=0, le=9)], 4, "A number.", check=even),
    Setting("b.table", Outer, Outer(), "A table."),
    Setting("b.secret", str, "", "A secret.", secret=True),
)


@pytest.fixture
def configs(store: Store) -> Configs:
    return Configs(store, Sealer(bytes(32)), TABLE)


def put(store: Store, configs: Configs, key: str, value: Any) -> None:
    with store.transaction() as tx:
        configs.put(tx, SYSTEM, key, value)


def test_a_change_counts_at_once_and_a_reset_takes_it_back(store: Store, configs: Configs) -> None:
    assert configs.value("a.number") == 4
    put(store, configs, "a.number", 6)
    assert configs.value("a.number") == 6
    with store.transaction() as tx:
        configs.reset(tx, SYSTEM, "a.number")
    assert configs.value("a.number") == 4


def test_what_another_process_writes_counts_at_once(store: Store, configs: Configs, tmp_path: Path) -> None:
    assert configs.value("a.flag") is True
    other = open_audited(tmp_path / "secureai.db", FakeClock())
    put(other, Configs(other, Sealer(bytes(32)), TABLE), "a.flag", False)
    other.close()
    assert configs.value("a.flag") is False


def test_nothing_is_read_again_while_nobody_writes(
    store: Store, configs: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = configs.values()
    monkeypatch.setattr(store, "read", lambda: pytest.fail("read again"))
    assert configs.values() is first


def test_what_is_no_setting_makes_no_value_anew(store: Store, configs: Configs) -> None:
    put(store, configs, "a.number", 8)
    before = configs.values()
    write_user(store, "ada")
    assert configs.values() is before
    put(store, configs, "a.number", 6)
    assert configs.value("a.number") == 6


def test_an_uncommitted_change_counts_for_nobody(store: Store, configs: Configs) -> None:
    with pytest.raises(RuntimeError), store.transaction() as tx:
        configs.put(tx, SYSTEM, "a.number", 8)
        assert configs.value("a.number") == 4
        raise RuntimeError
    assert configs.value("a.number") == 4


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("a.number", 10, "a.number"),
        ("a.number", "4", "a.number"),
        ("a.number", True, "a.number"),
        ("a.number", 5, "a.number"),
        ("a.flag", 1, "a.flag"),
        ("b.table", {"one": {"most": 0}}, "b.table.one.most"),
        ("b.table", {"three": {}}, "b.table.three"),
        ("b.table", [], "b.table"),
        ("b.secret", 5, "b.secret"),
        ("a.none", 5, "a.none"),
    ],
)
def test_a_bad_value_is_refused_by_its_name_and_nothing_of_the_rest_counts(
    store: Store, configs: Configs, key: str, value: Any, field: str
) -> None:
    with pytest.raises(ValidationError) as caught, store.transaction() as tx:
        configs.patch(tx, SYSTEM, {"a.number": 8} | {key: value})
    assert caught.value.details["field"] == field
    assert field in caught.value.message
    assert configs.value("a.number") == 4


def test_the_fields_that_an_object_leaves_out_are_the_defaults(store: Store, configs: Configs) -> None:
    put(store, configs, "b.table", {"one": {"most": None}})
    assert configs.value("b.table") == Outer(one=Inner(most=None, least=10))


def test_a_secret_is_stored_sealed_shown_masked_and_kept_when_the_mask_comes_back(
    store: Store, configs: Configs, tmp_path: Path
) -> None:
    put(store, configs, "b.secret", "canary-secret")
    with store.read() as db:
        assert configs.get(db, "b.secret").value == MASK
        exported = configs.export(db)
    assert "canary" not in str(exported)
    assert configs.value("b.secret") == "canary-secret"
    with store.transaction() as tx:
        changes = configs.import_(tx, SYSTEM, exported)
    assert changes == []
    assert configs.value("b.secret") == "canary-secret"
    store.checkpoint()
    assert b"canary" not in (tmp_path / "secureai.db").read_bytes()


def test_an_import_makes_the_whole_configuration_that_of_the_export(store: Store, configs: Configs) -> None:
    put(store, configs, "a.number", 2)
    with store.read() as db:
        exported = configs.export(db)
    with store.transaction() as tx:
        configs.patch(tx, SYSTEM, {"a.number": 8, "a.flag": False})
    with store.transaction() as tx:
        changes = configs.import_(tx, SYSTEM, exported)
    assert changes == ["a.flag", "a.number"]
    with store.transaction() as tx:
        configs.import_(tx, SYSTEM, ConfigsExport(values={"a.flag": False}))
    assert (configs.value("a.flag"), configs.value("a.number")) == (False, 4)


def test_a_stored_value_that_no_longer_passes_gives_way_to_the_default(
    store: Store, configs: Configs, caplog: pytest.LogCaptureFixture
) -> None:
    with store.transaction() as tx:
        tx.run("INSERT INTO configs (key, value, updated_at) VALUES ('a.number', '99', 0), ('gone', '1', 0)")
    assert configs.value("a.number") == 4
    assert "a.number" in caplog.text


def test_a_change_is_recorded_with_what_was_and_is_and_no_change_is_not(store: Store, configs: Configs) -> None:
    before = newest(store)
    with store.transaction() as tx:
        configs.patch(tx, Actor("usr-1", "key-1", "::1"), {"a.number": 6, "a.flag": True, "b.secret": "canary"})
    with store.read() as db:
        recorded = rows(db, before)
    assert [(row.action, row.target.id, row.details) for row in recorded] == [
        ("config.changed", "a.number", {"old": "4", "new": "6"}),
        ("config.changed", "b.secret", {"old": '""', "new": f'"{MASK}"'}),
    ]
    assert recorded[0].actor.user_id == "usr-1"


def test_an_unknown_setting_is_not_found(store: Store, configs: Configs) -> None:
    with store.transaction() as tx:
        with pytest.raises(NotFound):
            configs.get(tx, "a.none")
        with pytest.raises(NotFound):
            configs.reset(tx, SYSTEM, "a.none")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_default_passes_its_own_check(setting: Setting, store: Store) -> None:
    configs = Configs(store, Sealer(bytes(32)))
    with store.transaction() as tx:
        configs.put(tx, SYSTEM, setting.key, msgspec.to_builtins(setting.default))
    assert configs.value(setting.key) == setting.default
    assert "." in setting.key
    assert setting.description.endswith(".")
