"""Folders of file systems that do not answer hold up nobody else."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from secureai_appliance.knowledge.following import folders, watching
from secureai_appliance.knowledge.following.folders import Allowed
from secureai_appliance.knowledge.following.looks import Look
from secureai_appliance.knowledge.following.watching import Watcher
from tests.support.clock import FakeClock
from tests.support.following import Followed
from tests.support.running import PATIENCE


class Away:
    """A file system that doesn't answer what is asked about one file until it is back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.asking: list[threading.Thread] = []
        self._asked, self._is_back = threading.Event(), threading.Event()
        real = os.stat

        def stat(path: Any, **named: Any) -> Any:
            if path == name and not self._is_back.is_set():
                self.asking.append(threading.current_thread())
                self._asked.set()
                assert self._is_back.wait(PATIENCE)
            return real(path, **named)

        monkeypatch.setattr(os, "stat", stat)

    def wait(self) -> None:
        assert self._asked.wait(PATIENCE)

    def come_back(self) -> None:
        self._is_back.set()
        for thread in self.asking:
            thread.join(PATIENCE)


def _ended(watcher: Watcher, but: list[threading.Thread]) -> None:
    """Until no thread looks at folders any more but those that get no answer."""
    for thread in threading.enumerate():
        if thread.name == watching.THREAD and thread not in but:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_a_folder_that_does_not_answer_is_told_holds_up_no_other_and_is_gone_on_with(
    followed: Followed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    followed.write("a.txt", "text of a")
    followed.write("b.txt", "text of b")
    other = followed.add("other")
    followed.look()
    away = Away(monkeypatch, "b.txt")
    watcher = followed.watcher

    clock.advance(60)
    watcher.step()
    away.wait()
    (other / "c.txt").write_text("text of c")
    watcher.step()
    assert (watcher.silent, followed.problem()) == (0, None)  # it is not late yet
    clock.advance(watching.LEFT_AFTER)
    for _ in range(2):
        watcher.step()
        _ended(watcher, away.asking)
        clock.advance(60)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            watcher.step()
            _ended(watcher, away.asking)
            clock.advance(60)
    assert {"a.txt", "c.txt"} == set(followed.documents())
    assert len(away.asking) == 1  # nobody else went there
    assert (watcher.silent, followed.problem()) == (1, "no_answer")
    assert [str(followed.folder) in record.getMessage() for record in caplog.records].count(True) == 1
    assert followed.actions().count("knowledge.folder_failed") == 1
    assert watcher.stop(0)  # nobody waits for it

    away.come_back()
    assert (watcher.silent, len(away.asking)) == (0, 1)


def test_a_folder_that_answers_again_is_followed_as_if_nothing_had_been(
    followed: Followed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.write("a.txt", "text of a")
    followed.write("b.txt", "text of b")
    followed.look(2)
    followed.write("b.txt", "text of b, changed")
    away = Away(monkeypatch, "b.txt")
    clock.advance(60)
    followed.watcher.step()
    away.wait()
    clock.advance(watching.SILENT_AFTER)
    followed.watcher.step()
    assert followed.problem() == "no_answer"
    away.come_back()
    _ended(followed.watcher, [])
    assert followed.problem() is None
    clock.advance(60)
    followed.watcher.step()
    _ended(followed.watcher, [])
    assert {name: followed.text(name) for name in followed.documents()} == {
        "a.txt": "text of a",
        "b.txt": "text of b, changed",
    }


def test_a_base_that_gets_another_folder_does_not_wait_for_the_first_one_to_answer(
    followed: Followed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.write("a.txt", "text of a")
    followed.write("b.txt", "text of b")
    away, watcher = Away(monkeypatch, "b.txt"), followed.watcher
    watcher.step()
    away.wait()
    clock.advance(watching.SILENT_AFTER)
    watcher.step()
    assert (watcher.silent, followed.problem()) == (1, "no_answer")

    other = followed.folder.with_name("other")
    other.mkdir()
    (other / "c.txt").write_text("text of c")
    followed.follow(other)
    for _ in range(3):
        watcher.step()
        _ended(watcher, away.asking)
        clock.advance(60)
    assert set(followed.documents()) == {"c.txt"}
    assert (watcher.silent, followed.problem()) == (0, None)  # nobody wants to hear of the first one any more
    away.come_back()
    assert (set(followed.documents()), set(followed.files())) == ({"c.txt"}, {"c.txt"})


def test_a_look_that_fails_is_the_failure_of_the_next_step_and_another_follows(
    followed: Followed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.write("a.txt", "text of a")
    with monkeypatch.context() as broken:
        broken.setattr(Look, "run", lambda _: 1 / 0)
        clock.advance(60)
        followed.watcher.step()
        _ended(followed.watcher, [])
    with pytest.raises(ZeroDivisionError):
        followed.watcher.step()
    followed.look(2)
    assert set(followed.documents()) == {"a.txt"}


def test_a_root_that_does_not_answer_is_not_asked_about_folders_of_another(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = os.path.realpath

    def noting(path: str | Path) -> str:
        asked.append(str(path))
        return real(path)

    monkeypatch.setattr(os.path, "realpath", noting)
    roots = ["/mnt/away", *followed.allowed.roots]
    assert folders.refusal(str(followed.folder), Allowed(roots, followed.allowed.data)) is None
    assert "/mnt/away" not in asked
