from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from secureai_appliance.core.errors import Conflict, ServiceUnavailable, UnprocessableEntity
from secureai_appliance.core.network import Door
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.models import catalogue, changes
from secureai_appliance.models.catalogue import Kind, ModelRow
from secureai_appliance.models.changes import ModelPatch
from secureai_appliance.models.registry import Loaded, Loader, Models
from secureai_appliance.models.remotes import Remotes
from secureai_appliance.store import Store
from tests.support.clock import FakeClock

BUDGET = 10
LONG = 10.0  # seconds that a test waits before it fails; none is spent when it passes


class FakeModel:
    """Something loaded."""

    def __init__(self) -> None:
        self.failed = False
        self.closed = False

    def close(self, timeout: float) -> bool:
        self.closed = True
        return True


class FakeLoader:
    """Counts what it is asked, fails when told to, and holds loading up while `gate` is closed."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.probed: list[str] = []
        self.loaded: list[FakeModel] = []
        self.refusal: str | None = None
        self.defect = False
        self.needs: dict[str, int] = {}

    def loader(self) -> Loader:
        return Loader(lambda: "build-1", self._probe, self._predict, self._load)

    def _probe(self, path: Path, kind: Kind) -> str | None:
        self.probed.append(path.name)
        return self.refusal

    def _predict(self, path: Path, row: ModelRow) -> int:
        return self.needs.get(row.id, 1)

    def _load(self, path: Path, row: ModelRow) -> Loaded:
        assert self.gate.wait(LONG)
        if self.defect:
            raise RuntimeError("a bug")
        self.loaded.append(FakeModel())
        return cast(Loaded, self.loaded[-1])


@pytest.fixture
def fake() -> FakeLoader:
    return FakeLoader()


@pytest.fixture
def models(store: Store, clock: FakeClock, fake: FakeLoader, tmp_path: Path) -> Iterator[Models]:
    remotes = Remotes(store, Sealer(bytes(32)), clock, Door(), max_waiting=0, max_wait=1)
    made = Models(store, clock, tmp_path, fake.loader(), remotes, context_length=4096, memory=BUDGET, idle_seconds=60)
    yield made
    made.close(LONG)


@pytest.fixture
def row(store: Store) -> ModelRow:
    return enter(store, "tiny", "chat")


def enter(store: Store, name: str, kind: Kind) -> ModelRow:
    with store.transaction() as tx:
        now = tx.now()
        values: tuple[Any, ...] = (name, kind, f"{name}.gguf", "ab", 5, "us", None, "llama", 8192, 7, "Q8_0", now, now)
        tx.run(
            "INSERT INTO models (id, kind, file, sha256, size_bytes, owned_by, license, architecture, context_length,"
            f" parameters, quantization, created_at, updated_at) VALUES ({', '.join('?' * len(values))})",
            *values,
        )
        return catalogue.find(tx, name)


def test_a_model_is_loaded_once_however_many_ask_for_it(models: Models, fake: FakeLoader, row: ModelRow) -> None:
    fake.gate.clear()
    handles = [models.chat(row) for _ in range(5)]
    assert handles[0].wait(0) is None
    assert models.show(row).status == "loading"
    fake.gate.set()
    assert {handle.wait(LONG) for handle in handles} == set(fake.loaded)
    assert len(fake.loaded) == 1
    assert models.show(row).status == "loaded"


def test_a_model_is_probed_once_for_a_build_and_never_again(
    models: Models, store: Store, fake: FakeLoader, row: ModelRow
) -> None:
    assert models.show(row).status == "loading"  # nobody knows yet whether it can be used
    models.check()
    with store.read() as db:
        assert models.show(catalogue.find(db, "tiny")).status == "available"
    models.chat(row).wait(LONG)
    models.check()
    assert fake.probed == ["tiny.gguf"]


def test_who_asks_while_a_model_is_only_probed_gets_it_loaded(
    models: Models, fake: FakeLoader, row: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    probing, go_on = threading.Event(), threading.Event()

    def probe(path: Path, kind: Kind) -> str | None:
        probing.set()
        assert go_on.wait(LONG)
        return None

    monkeypatch.setattr(models, "loader", Loader(lambda: "build-1", probe, fake._predict, fake._load))
    checking = threading.Thread(target=models.check)
    checking.start()
    assert probing.wait(LONG)
    handle = models.chat(row)
    go_on.set()
    assert handle.wait(LONG) is not None
    checking.join(LONG)


def test_who_waits_for_a_model_when_the_appliance_stops_is_told(models: Models, row: ModelRow) -> None:
    handle = models.chat(row)
    assert handle.wait(LONG) is not None
    models.close(LONG)
    with pytest.raises(ServiceUnavailable, match="out of memory"):
        handle.wait(LONG)


def test_a_model_that_its_probe_refuses_is_failed_and_says_why(
    models: Models, fake: FakeLoader, row: ModelRow, clock: FakeClock
) -> None:
    fake.refusal = "the file is cut off"
    models.check()
    shown = models.show(row)
    assert (shown.status, shown.failure) == ("failed", "the file is cut off")
    with pytest.raises(ServiceUnavailable, match="the file is cut off") as raised:
        models.chat(row).wait(LONG)
    assert raised.value.retry_after
    assert fake.loaded == []


def test_a_failed_model_is_tried_again_after_a_time_that_doubles(
    models: Models, fake: FakeLoader, row: ModelRow, clock: FakeClock
) -> None:
    fake.refusal = "no"
    tries = []
    for _ in range(8):
        with pytest.raises(ServiceUnavailable):
            models.chat(row).wait(LONG)
        tries.append(len(fake.probed))
        clock.advance(5)
    # 0 s, 5 s, 15 s, 35 s: the waits are 5, 10, 20 seconds
    assert tries == [1, 2, 2, 3, 3, 3, 3, 4]


def test_a_failed_model_serves_again_once_it_can(
    models: Models, fake: FakeLoader, row: ModelRow, clock: FakeClock
) -> None:
    fake.refusal = "no"
    with pytest.raises(ServiceUnavailable):
        models.chat(row).wait(LONG)
    fake.refusal = None
    clock.advance(5)
    assert models.chat(row).wait(LONG) is not None
    assert models.show(row).failure is None


def test_a_defect_while_loading_leaves_nobody_waiting(models: Models, fake: FakeLoader, row: ModelRow) -> None:
    fake.defect = True
    with pytest.raises(ServiceUnavailable, match="internal error"):
        models.chat(row).wait(LONG)


def test_a_model_whose_thread_died_is_loaded_again(models: Models, fake: FakeLoader, row: ModelRow) -> None:
    models.chat(row).wait(LONG)
    fake.loaded[0].failed = True
    assert models.in_memory() == {}
    assert models.chat(row).wait(LONG) is fake.loaded[1]
    assert [model.closed for model in fake.loaded] == [True, False]


def test_a_model_of_another_kind_is_refused_before_it_is_loaded(
    models: Models, store: Store, row: ModelRow, fake: FakeLoader
) -> None:
    with pytest.raises(UnprocessableEntity, match="not embeddings"):
        models.embedding(row)
    with pytest.raises(UnprocessableEntity, match="not completions"):
        models.chat(enter(store, "mini", "embedding"))
    assert fake.probed == []


def test_closing_frees_every_model_and_takes_no_more(models: Models, fake: FakeLoader, row: ModelRow) -> None:
    models.chat(row).wait(LONG)
    models.close(LONG)
    assert fake.loaded[0].closed
    with pytest.raises(ServiceUnavailable, match="stopping"):
        models.chat(row)


def test_a_model_that_arrives_after_closing_is_freed_at_once(models: Models, fake: FakeLoader, row: ModelRow) -> None:
    fake.gate.clear()
    handle = models.chat(row)
    models.close(LONG)
    fake.gate.set()
    # whoever waits may see it just before it is taken away again
    with contextlib.suppress(ServiceUnavailable):
        handle.wait(LONG)
    assert _eventually(lambda: bool(fake.loaded) and fake.loaded[0].closed)


def test_a_check_that_a_stop_overtakes_ends_quietly(
    models: Models, row: ModelRow, caplog: pytest.LogCaptureFixture
) -> None:
    models.close(LONG)
    models.check()
    assert "not all checked" in caplog.text


def test_a_request_uses_no_more_context_than_model_and_setting_allow(models: Models, row: ModelRow) -> None:
    assert models.show(row).context_length == 4096


def test_the_outcome_of_a_probe_is_kept(models: Models, store: Store, fake: FakeLoader, row: ModelRow) -> None:
    models.check()
    with store.read() as db:
        assert catalogue.find(db, "tiny").probed_build == "build-1"


# several models and one budget


def load(models: Models, row: ModelRow) -> None:
    assert models.chat(row).wait(LONG) is not None


def test_the_model_that_was_not_used_for_longest_makes_room(
    models: Models, store: Store, fake: FakeLoader, clock: FakeClock
) -> None:
    rows = [enter(store, name, "chat") for name in ("a", "b", "c")]
    fake.needs = {"a": 4, "b": 4, "c": 5}
    for row in rows[:2]:
        load(models, row)
        clock.advance(1)
    with models.held(rows[0]):
        clock.advance(1)
    load(models, rows[2])
    assert set(models.in_memory()) == {"a", "c"}
    assert [model.closed for model in fake.loaded] == [False, True, False]


def test_as_many_models_go_as_are_needed(models: Models, store: Store, fake: FakeLoader) -> None:
    fake.needs = {"a": 4, "b": 4, "c": 10}
    for name in ("a", "b", "c"):
        load(models, enter(store, name, "chat"))
    assert set(models.in_memory()) == {"c"}


def test_a_model_with_a_running_request_is_never_unloaded(models: Models, store: Store, fake: FakeLoader) -> None:
    busy, other = enter(store, "a", "chat"), enter(store, "b", "chat")
    fake.needs = {"a": 6, "b": 6}
    load(models, busy)
    with models.held(busy), pytest.raises(ServiceUnavailable, match=r"in use or pinned: a\.") as raised:
        models.chat(other).wait(LONG)
    assert raised.value.retry_after
    assert set(models.in_memory()) == {"a"}
    assert models.show(other).status != "failed"
    load(models, other)  # without any cooling down: nothing is wrong with it
    assert set(models.in_memory()) == {"b"}


def test_a_pinned_model_stays(models: Models, store: Store, fake: FakeLoader, clock: FakeClock) -> None:
    pinned, other = enter(store, "a", "chat"), enter(store, "b", "chat")
    fake.needs = {"a": 6, "b": 6}
    with store.transaction() as tx:
        changes.patch(tx, pinned, ModelPatch(pinned=True))
    models.check()
    load(models, pinned)
    with pytest.raises(ServiceUnavailable, match="pinned"):
        models.chat(other).wait(LONG)
    clock.advance(1000)
    models.unload_idle()
    assert set(models.in_memory()) == {"a"}


def test_a_pinned_model_is_loaded_at_the_start(models: Models, store: Store, fake: FakeLoader, row: ModelRow) -> None:
    with store.transaction() as tx:
        changes.patch(tx, row, ModelPatch(pinned=True))
    models.check()
    assert _eventually(lambda: set(models.in_memory()) == {"tiny"})


def test_a_model_that_can_never_fit_says_so_with_the_figures(models: Models, fake: FakeLoader, row: ModelRow) -> None:
    fake.needs = {"tiny": 11_000_000_000}
    with pytest.raises(ServiceUnavailable, match=r"11\.00 GB.*0\.00 GB together"):
        models.chat(row).wait(LONG)
    assert fake.loaded == []


def test_a_model_that_could_not_be_read_leaves_no_room_taken(
    models: Models, store: Store, fake: FakeLoader, clock: FakeClock
) -> None:
    fake.needs = {"a": 10, "b": 10}
    fake.defect = True
    with pytest.raises(ServiceUnavailable):
        models.chat(enter(store, "a", "chat")).wait(LONG)
    fake.defect = False
    load(models, enter(store, "b", "chat"))


def test_a_model_that_nobody_uses_is_unloaded_after_its_time(
    models: Models, fake: FakeLoader, row: ModelRow, clock: FakeClock
) -> None:
    load(models, row)
    clock.advance(50)
    with models.held(row):
        clock.advance(100)
        models.unload_idle()
        assert not fake.loaded[0].closed
    clock.advance(59)
    models.unload_idle()
    assert not fake.loaded[0].closed
    clock.advance(1)
    models.unload_idle()
    assert fake.loaded[0].closed
    assert models.in_memory() == {}


def test_a_model_is_unloaded_by_hand_unless_it_is_in_use(models: Models, fake: FakeLoader, row: ModelRow) -> None:
    load(models, row)
    with models.held(row), pytest.raises(Conflict, match="in use"):
        models.unload(row)
    models.unload(row)
    assert fake.loaded[0].closed
    models.unload(row)


def test_loading_by_hand_does_not_wait_for_the_cooling_down(models: Models, fake: FakeLoader, row: ModelRow) -> None:
    fake.refusal = "no"
    with pytest.raises(ServiceUnavailable):
        models.chat(row).wait(LONG)
    fake.refusal = None
    assert models.load(row).wait(LONG) is not None


def test_a_model_that_is_forgotten_while_it_is_read_is_freed_at_once(
    models: Models, fake: FakeLoader, row: ModelRow
) -> None:
    fake.gate.clear()
    models.chat(row)
    models.forget(row.id)
    fake.gate.set()
    assert _eventually(lambda: bool(fake.loaded) and fake.loaded[0].closed)
    assert models.in_memory() == {}


def _eventually(holds: Any) -> bool:
    for thread in threading.enumerate():
        if thread.name.startswith("load "):
            thread.join(LONG)
    return bool(holds())
