"""`secureai model …` and `chat`: beside a running server, and on the file alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from secureai_appliance.cli import cli
from secureai_appliance.core.errors import EXIT_USAGE
from tests.support.models import CHAT
from tests.support.running import Running, running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("commands") / "data"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    with running(folder, context_length=256) as started:
        yield started


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "Third.gguf"
    path.write_bytes(CHAT.read_bytes() + bytes(96))
    return path


def command(*arguments: str, key: str | None = None, typed: str | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, env={"SECUREAI_KEY": key}, input=typed)


def beside(server: Running) -> list[str]:
    return ["--data", str(server.appliance.settings.data_folder.root)]  # the server has noted its port there


def test_a_model_is_imported_loaded_and_removed_beside_the_running_server(server: Running, file: Path) -> None:
    where = beside(server)
    imported = command("model", "import", str(file), "--name", "third", *where, key=server.key)
    assert (imported.exit_code, imported.stdout) == (0, "third\n"), imported.output
    assert command("model", "load", "third", *where, key=server.key).stdout == "loaded\n"
    assert command("model", "unload", "third", *where, key=server.key).stdout == "available\n"
    assert command("model", "remove", "third", *where, key=server.key).exit_code == 0
    assert server.ask("GET", "/api/v1/models/third").status == 404
    assert file.exists()
    assert list(server.appliance.settings.data_folder.import_.iterdir()) == []


def test_what_the_server_refuses_is_one_line_and_leaves_no_copy(server: Running, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"this is no model at all, nor anything like it")
    done = command("model", "import", str(bad), *beside(server), key=server.key)
    assert done.exit_code == 1
    assert "secureai: The file is not a GGUF model." in done.stderr
    assert list(server.appliance.settings.data_folder.import_.iterdir()) == []


def test_another_checksum_is_found_before_the_server_is_asked(server: Running, file: Path) -> None:
    done = command("model", "import", str(file), "--sha256", "0" * 64, *beside(server), key=server.key)
    assert done.exit_code == 1
    assert "The SHA-256 of" in done.stderr
    assert list(server.appliance.settings.data_folder.import_.iterdir()) == []


def test_a_command_that_needs_a_key_says_so(server: Running, file: Path) -> None:
    done = command("model", "import", str(file), *beside(server))
    assert done.exit_code == EXIT_USAGE
    assert "SECUREAI_KEY" in done.stderr


def test_without_a_server_it_is_done_on_the_file(tmp_path: Path, file: Path) -> None:
    with running(tmp_path / "data"):
        pass
    where = ["--data", str(tmp_path / "data")]
    imported = command("model", "import", str(file), *where)
    assert (imported.exit_code, imported.stdout) == (0, "third\n"), imported.output
    again = command("model", "import", str(file), *where)
    assert again.exit_code == 1
    assert "is taken by the model 'third'" in again.stderr
    loading = command("model", "load", "third", *where)
    assert "No server runs" in loading.stderr
    assert command("model", "remove", "third", *where).exit_code == 0
    assert list((tmp_path / "data" / "models" / "imported").iterdir()) == []
    assert command("model", "remove", "smollm2-135m-instruct", *where).exit_code == 1


def test_a_folder_without_an_appliance_is_left_alone(tmp_path: Path, file: Path) -> None:
    done = command("model", "import", str(file), "--data", str(tmp_path / "none"))
    assert done.exit_code == 1
    assert "secureai serve" in done.stderr
    assert not (tmp_path / "none").exists()


def test_chat_streams_the_answer_to_what_is_piped_in(server: Running) -> None:
    done = command("chat", "--url", server.appliance.address, key=server.key, typed="Say hello.")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.strip()) > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--model", "none"], "There is no model 'none'"), (["--key", "sk-wrong"], "is not known here")],
)
def test_chat_says_what_is_wrong_in_one_line(server: Running, arguments: list[str], says: str) -> None:
    done = command("chat", "--url", server.base_url, *arguments, key=server.key, typed="Hello")
    assert done.exit_code == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_chat_without_a_server_says_where_it_looked(tmp_path: Path) -> None:
    done = command("chat", "--url", "http://127.0.0.1:9", key="sk-x", typed="Hello")
    assert done.exit_code == 1
    assert "http://127.0.0.1:9" in done.stderr
