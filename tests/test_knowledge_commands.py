from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from secureai_appliance import knowledge_commands
from secureai_appliance.client import Client, Refused
from secureai_appliance.knowledge_commands import files_in, follow, send


class Server:
    """Takes every file once; the names say what becomes of them."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.states: dict[str, list[dict[str, Any]]] = {}
        self.busy = 1

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str], *, timeout: float | None) -> Any:
        assert (method, path) == ("POST", "/knowledge/my%20base/documents")
        assert headers["Content-Type"].startswith("multipart/form-data; boundary=")
        if self.busy:
            self.busy -= 1
            raise Refused(503, {"error": {"message": "Busy."}}, "0")
        if b"known" in body:
            raise Refused(409, {"error": {"message": "There."}}, None)
        if b"huge" in body:
            raise Refused(413, {"error": {"message": "Too large."}}, None)
        self.bodies.append(body)
        document = f"doc-{len(self.bodies)}"
        failed = {"status": "failed", "error": {"code": "damaged", "message": "It is damaged."}}
        self.states[document] = [{"status": "embedding"}, failed if b"bad" in body else {"status": "indexed"}]
        return {"id": document}

    def ask(self, method: str, path: str) -> Any:
        states = self.states[path.rpartition("/")[2]]
        return states.pop(0) if len(states) > 1 else states[0]


def test_files_of_a_folder_are_added_and_each_failure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("good.txt", "in/bad.pdf", "known.txt", "huge.bin", ".hidden/x.txt", ".y"):
        (tmp_path / name).write_text(name)
    naps: list[float] = []
    monkeypatch.setattr(knowledge_commands.time, "sleep", naps.append)
    server, sent, done = Server(), [0], list[int]()
    client = cast(Client, server)

    def told() -> None:
        sent[0] += 1

    files = list(files_in([tmp_path]))
    outcome = send(client, "my base", files, told)
    follow(client, "my base", outcome, done.append)
    assert sent[0] == len(files) == 4
    assert outcome.known == [str(tmp_path / "known.txt")]
    assert outcome.failed == {
        str(tmp_path / "huge.bin"): "Too large.",
        str(tmp_path / "in/bad.pdf"): "It is damaged.",
    }
    assert done == [1, 2]
    assert b'filename="good.txt"\r\n\r\ngood.txt\r\n' in server.bodies[0]


def test_an_error_that_is_no_files_ends_it(tmp_path: Path) -> None:
    class Closed(Server):
        def send(self, *_: Any, **__: Any) -> Any:
            raise Refused(404, {"error": {"message": "There is no such knowledge base."}}, None)

    (tmp_path / "a").write_text("a")
    with pytest.raises(Refused, match="no such"):
        send(cast(Client, Closed()), "none", [tmp_path / "a"], lambda: None)
