"""`secureai model import --url`: a file sent to a server, whole and after breaks, over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from secureai_appliance import sending
from secureai_appliance.cli import cli
from secureai_appliance.client import Client, Refused, Unreachable
from secureai_appliance.core.errors import EXIT_USAGE, StartupError
from secureai_appliance.model_upload import upload_model
from secureai_appliance.sending import bytes_bar
from tests.support.models import EMBEDDING
from tests.support.running import Running

PART = 8 * 1024 * 1024
NAME = "sent-by-command"


@pytest.fixture
def file(api: Running, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "Vectors.gguf"
    path.write_bytes(EMBEDDING.read_bytes() + bytes(192))
    yield path
    api.ask("DELETE", f"/api/v1/models/{NAME}")
    for upload in uploads(api, path):
        api.ask("DELETE", f"/api/v1/uploads/{upload['id']}")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets of the parts that were sent."""
    offsets: list[int] = []
    wrap(monkeypatch, lambda offset, go_on: offsets.append(offset) or go_on())
    return offsets


def wrap(monkeypatch: pytest.MonkeyPatch, around: Callable[[int, Callable[[], Any]], Any]) -> None:
    """Have each part go through `around`, which is given its offset and what sends it."""
    send = Client.send

    def wrapped(self: Client, method: str, path: str, body: bytes | None, headers: dict[str, str], **how: Any) -> Any:
        if method != "PATCH":
            return send(self, method, path, body, headers, **how)
        return around(int(headers["Upload-Offset"]), lambda: send(self, method, path, body, headers, **how))

    monkeypatch.setattr(Client, "send", wrapped)


def uploads(api: Running, file: Path) -> list[dict[str, Any]]:
    """Those of this file that are not used yet; other tests leave theirs."""
    found: list[dict[str, Any]] = api.ask("GET", "/api/v1/uploads").json["data"]
    return [upload for upload in found if upload["filename"] == file.name]


def command(api: Running, file: Path, *options: str, key: str | None = None) -> Result:
    arguments = ["model", "import", str(file), "--url", api.appliance.address, *options]
    return CliRunner().invoke(cli, arguments, env={"SECUREAI_KEY": key or api.key})


def test_a_file_becomes_a_model_of_the_server(api: Running, file: Path, sent: list[int]) -> None:
    done = command(api, file, "--name", NAME)
    assert (done.exit_code, done.stdout) == (0, f"{NAME}\n"), done.output
    assert sent == [0, PART, 2 * PART, 3 * PART]
    assert api.ask("GET", f"/api/v1/models/{NAME}").json["capabilities"] == ["embedding"]
    assert uploads(api, file) == []
    assert file.exists()


def test_breaks_are_waited_out_and_nothing_is_sent_twice_that_came_through(
    api: Running, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    waited: list[float] = []
    wrong = iter([answer_lost, never_arrives, too_busy])
    wrap(monkeypatch, lambda offset, go_on: (sent.append(offset), next(wrong, lambda do: do())(go_on))[1])
    assert upload_model(api.base_url, api.key, file, NAME, None, pause=waited.append) == NAME
    # the first part came through although its answer did not: the last try is told so
    assert sent == [0, 0, 0, 0, PART, 2 * PART, 3 * PART]
    assert waited == [1.0, 2.0, 7]


def answer_lost(go_on: Callable[[], Any]) -> Any:
    go_on()
    raise Unreachable("the answer is lost.")


def never_arrives(_: Callable[[], Any]) -> Any:
    raise Unreachable("the line is dead.")


def too_busy(_: Callable[[], Any]) -> Any:
    raise Refused(429, {"error": {"message": "slowly"}}, "7")


def test_the_same_command_goes_on_where_an_earlier_one_stopped(
    api: Running, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        wrap(broken, lambda offset, go_on: go_on() if offset < 2 * PART else never_arrives(go_on))
        with pytest.raises(StartupError, match="goes on where this one stopped"):
            upload_model(api.base_url, api.key, file, NAME, None, pause=lambda _: None)
    assert [upload["offset"] for upload in uploads(api, file)] == [2 * PART]
    sent: list[int] = []
    wrap(monkeypatch, lambda offset, go_on: sent.append(offset) or go_on())
    assert command(api, file, "--name", NAME).exit_code == 0
    assert sent == [2 * PART, 3 * PART]


def test_another_name_after_one_that_is_taken_sends_nothing_again(api: Running, file: Path, sent: list[int]) -> None:
    taken = command(api, file, "--name", "all-minilm-l6-v2")
    assert (taken.exit_code, "is taken by" in taken.stderr) == (1, True)
    sent.clear()
    assert command(api, file, "--name", NAME).exit_code == 0
    assert sent == []


def test_what_is_no_model_is_one_line_and_leaves_nothing_on_the_server(api: Running, file: Path) -> None:
    file.write_bytes(EMBEDDING.read_bytes()[: PART + 100])
    done = command(api, file)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("secureai: ")
    assert uploads(api, file) == []
    assert list(api.appliance.settings.data_folder.uploads.iterdir()) == []


def test_a_file_that_changes_while_it_is_sent_is_refused(
    api: Running, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(offset: int, go_on: Callable[[], Any]) -> Any:
        with file.open("r+b") as writing:
            writing.seek(-10, 2)
            writing.write(b"other")
        return go_on()

    wrap(monkeypatch, change)
    done = command(api, file, "--name", NAME)
    assert (done.exit_code, "SHA-256 is not the one" in done.stderr) == (1, True)
    assert api.ask("GET", f"/api/v1/models/{NAME}").status == 404


@pytest.mark.parametrize(
    ("options", "key", "says", "code"),
    [
        (["--sha256", "0" * 64], None, "The SHA-256 of", 1),
        ([], "sk-wrong", "is not known here", 1),
        (["--url", "http://127.0.0.1:9"], None, "http://127.0.0.1:9", 1),
        (["--url", "ftp://x"], None, "--url takes", EXIT_USAGE),
    ],
)
def test_what_can_be_known_before_is_said_before_anything_is_sent(
    api: Running, file: Path, sent: list[int], *, options: list[str], key: str | None, says: str, code: int
) -> None:
    done = command(api, file, *options, key=key)
    assert (done.exit_code, says in done.stderr) == (code, True), done.stderr
    assert (sent, uploads(api, file)) == ([], [])


def test_a_part_that_the_server_still_writes_is_waited_for(api: Running, file: Path, sent: list[int]) -> None:
    waited: list[float] = []

    def finish(seconds: float) -> None:
        waited.append(seconds)
        busy.clear()

    busy = api.appliance.uploads._busy
    upload = api.ask("POST", "/api/v1/uploads", announced(file)).json
    busy.add(upload["id"])
    assert upload_model(api.base_url, api.key, file, NAME, None, pause=finish) == NAME
    assert waited == [1.0]
    assert sent == [0, 0, PART, 2 * PART, 3 * PART]


def announced(file: Path) -> dict[str, Any]:
    with file.open("rb") as source, bytes_bar() as progress:
        digest = sending._digest(source, file.stat().st_size, progress)
    return {"filename": file.name, "size": file.stat().st_size, "sha256": digest}
