"""Chats and the index that finds them agree, whatever a disk does and wherever a process is killed (P1, P2)."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations import chats
from secureai_appliance.conversations.answers import Delta, Gathered
from secureai_appliance.conversations.chats import ChatPatch, ChatQuery
from secureai_appliance.conversations.messages import ChatRequest, Message
from secureai_appliance.conversations.turns import Started, Turn, Turns
from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.store import Store
from tests.support.audit import CHAIN_KEY, open_audited
from tests.support.clock import FakeClock
from tests.support.vfs import FaultyVFS, PowerCutVFS


class Scene:
    """Chats that are begun, answered, renamed and deleted, one change after the other."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.transaction() as tx:
            user = users.create(tx, email="ann@example.org", name="Ann", role="user")
            self.ann: Caller = users.caller_of(tx, user.id)
        self._turn: Turn | None = None

    def steps(self, rounds: int = 2) -> list[Callable[[], None]]:
        steps = []
        for number in range(rounds):
            steps += [
                lambda number=number: self._begin(f"alpha{number} question"),
                self._finish,
                lambda number=number: self._rename(f"beta{number}"),
                lambda number=number: self._begin(f"gamma{number} more"),
                self._delete,
                lambda number=number: self._begin(f"delta{number} kept"),
                self._finish,
            ]
        return steps

    def _begin(self, text: str) -> None:
        asked = ChatRequest(model="m", messages=[Message(role="user", content=text)], store=True)
        turn = Turns(self.store).join(self.ann, asked, keep=False)
        assert isinstance(turn, Turn)
        turn.begin(Started(f"resp-{text}", "m"))
        self._turn = turn

    def _finish(self) -> None:
        assert self._turn is not None
        answer = Gathered()
        answer.add(Delta(content="omega answer"))
        self._turn.finish(answer, "stop", None)

    def _rename(self, title: str) -> None:
        with self.store.transaction() as tx:
            chats.patch(tx, self.ann, self._chat_id, ChatPatch(title=title))

    def _delete(self) -> None:
        with self.store.transaction() as tx:
            chats.delete(tx, self.ann, self._chat_id)

    @property
    def _chat_id(self) -> str:
        assert self._turn is not None
        assert self._turn.chat_id is not None
        return self._turn.chat_id


def state(store: Store) -> list[tuple[str, int]]:
    """Titles and numbers of messages; the index must have just these titles and messages, and find each."""
    assert store.integrity(quick=False) == []
    with store.read() as db:
        indexed = [row[0] for row in db.all("SELECT rowid FROM chat_terms ORDER BY rowid")]
        there = "SELECT row_id FROM messages UNION SELECT row_id << 20 FROM chats ORDER BY 1"
        assert indexed == [row[0] for row in db.all(there)]
        for place, content in db.all("SELECT row_id >> 20, content FROM messages WHERE role = 'user'"):
            found = chats.list_(db, ChatQuery(q=content.split()[0], archived="all"), None).data
            assert [chats.place(db, chat.id) for chat in found] == [place]
        counted = db.all(
            "SELECT title, message_count, (SELECT COUNT(*) FROM messages m WHERE m.row_id >> 20 = c.row_id)"
            " FROM chats c ORDER BY row_id"
        )
    assert all(told == real for _, told, real in counted)
    return [(title, told) for title, told, _ in counted]


def after_a_kill(path: Path, folder: Path) -> list[tuple[str, int]]:
    """What another process would find if this one were killed now."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file in (path, path.with_name(path.name + "-wal")):
        shutil.copy(file, folder)
    return left(folder / path.name)


def left(path: Path) -> list[tuple[str, int]]:
    store = Store.open(path, clock=FakeClock(), synchronous="OFF", chain_key=CHAIN_KEY)
    try:
        return state(store)
    finally:
        store.close()


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.soak)], ids=["one in thirteen", "all"])
def test_a_full_disk_at_any_write_leaves_chats_and_index_in_agreement(
    tmp_path: Path, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secureai_appliance.store.writer.CHECKPOINT_PAGES", 15)
    failures = 0
    expected = None
    with FaultyVFS("faulty-chats") as vfs:
        for n in itertools.count(0, stride):
            (tmp_path / f"n{n}").mkdir()
            store = open_audited(tmp_path / f"n{n}" / "secureai.db", FakeClock(), vfs=vfs.name)
            scene = Scene(store)
            if n:
                vfs.break_at(n, error=apsw.FullError, lasting=True)
            for step in scene.steps(1):
                try:
                    step()
                except ServiceUnavailable:
                    failures += 1
                    before = state(store)
                    vfs.heal()
                    assert state(store) == before
                    step()
            faults = vfs.faults
            vfs.heal()
            # the first time nothing was broken: what it should be each time
            expected = expected or state(store)
            assert after_a_kill(store.path, tmp_path / "killed") == state(store) == expected
            store.close()
            if n and not faults:
                break
    assert failures > 2


@pytest.mark.parametrize("seed", [None, 1], ids=["all unsynced lost", "some kept"])
@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.soak)], ids=["one in nine", "all"])
def test_after_a_kill_or_a_power_cut_at_any_moment_chats_and_index_agree(
    tmp_path: Path, seed: int | None, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secureai_appliance.store.writer.CHECKPOINT_PAGES", 40)
    states: list[list[tuple[str, int]]] = []

    def when(n: int) -> bool:
        return bool(states) and n % stride == 0

    with PowerCutVFS("power-chats", witness=lambda: len(states), when=when, seed=seed) as vfs:
        store = open_audited(tmp_path / "secureai.db", FakeClock(), vfs=vfs.name)
        scene = Scene(store)
        states.append(state(store))
        for step in scene.steps():
            step()
            states.append(state(store))
        store.close()
    assert len(vfs.cuts) > 8
    for cut in vfs.cuts:
        shutil.rmtree(tmp_path / "after", ignore_errors=True)
        (tmp_path / "after").mkdir()
        cut.write_to(tmp_path / "after")
        # what was answered is there; the change that was under way is, or is not
        assert left(tmp_path / "after" / "secureai.db") in states[cut.witness - 1 : cut.witness + 1]
