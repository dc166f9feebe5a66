from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from secureai_appliance.core.errors import ServiceUnavailable, UnprocessableEntity
from secureai_appliance.models import catalogue
from secureai_appliance.models.catalogue import Kind, ModelRow
from secureai_appliance.models.registry import Loaded, Loader, Models
from secureai_appliance.store import Store
from tests.support.clock import FakeClock

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

    def loader(self) -> Loader:
        return Loader(lambda: "build-1", self._probe, self._load)

    def _probe(self, path: Path, kind: Kind) -> str | None:
        self.probed.append(path.name)
        return self.refusal

    def _load(self, path: Path, kind: Kind) -> Loaded:
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
    made = Models(store, clock, tmp_path, fake.loader(), context_length=4096)
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

    monkeypatch.setattr(models, "_loader", Loader(lambda: "build-1", probe, fake._load))
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


def _eventually(holds: Any) -> bool:
    for thread in threading.enumerate():
        if thread.name.startswith("load "):
            thread.join(LONG)
    return bool(holds())
