"""`secureai serve` as a process: first start, second instance, signals, commands beside it."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from secureai_appliance.core.errors import (
    EXIT_ALREADY_RUNNING,
    EXIT_MASTER_KEY,
    EXIT_NEWER_SCHEMA,
    EXIT_PORT,
    EXIT_USAGE,
)
from tests.support.program import Serving
from tests.support.running import PATIENCE

SECUREAI = [sys.executable, "-m", "secureai_appliance"]


def command(*arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SECUREAI, *arguments], capture_output=True, text=True, input=input, check=False, timeout=PATIENCE
    )


def start(folder: Path, port: str = "0") -> Serving:
    return Serving.start([*SECUREAI, "serve", "--data", str(folder), "--port", port, "--threads", "1"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve") / "data"


@pytest.fixture(scope="module")
def serving(folder: Path) -> Iterator[Serving]:
    started = start(folder)
    yield started
    started.stop()


def curl(serving: Serving, path: str, key: str) -> tuple[int, str]:
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {key}", serving.address + path],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_the_curl_line_of_the_first_start_works_as_it_is_printed(serving: Serving) -> None:
    line = re.search(r"^curl .*?}'$", serving.printed.replace("\r", ""), re.MULTILINE | re.DOTALL)
    assert line is not None, serving.printed
    short = line.group(0).replace('"max_tokens": 500', '"max_tokens": 8')  # the test has no patience for more
    done = subprocess.run(["sh", "-c", short], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"]


def test_the_data_folder_and_its_secrets_are_for_the_owner_alone(serving: Serving, folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("secureai.db", "secureai.db-wal", "master.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_a_terminal_is_shown_the_key_and_no_file_keeps_it(serving: Serving, folder: Path) -> None:
    assert not (folder / "first-start.txt").exists()
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".gguf":
            assert serving.key.encode() not in path.read_bytes()


def test_a_second_instance_says_so_in_one_line_and_exits_with_3(serving: Serving, folder: Path) -> None:
    done = command("serve", "--data", str(folder), "--port", "0")
    assert done.returncode == EXIT_ALREADY_RUNNING
    assert done.stderr.count("\n") == 1
    assert str(folder) in done.stderr


def test_a_taken_port_is_one_line_and_leaves_nothing_half_made(serving: Serving, tmp_path: Path) -> None:
    port = serving.address.rpartition(":")[2]
    done = command("serve", "--data", str(tmp_path / "other"), "--port", port)
    assert done.returncode == EXIT_PORT
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "other" / "secureai.db").exists()


def test_commands_work_beside_the_running_server(serving: Serving, folder: Path) -> None:
    data = ["--data", str(folder)]
    made = command("user", "create", "--email", "ada@example.org", "--name", "Ada", "--role", "user", *data)
    assert made.stdout.startswith("usr-")
    key = command("key", "create", "--user", "ada@example.org", "--name", "k", "--scopes", "models:read", *data).stdout
    assert re.fullmatch(r"sk-\w{43}\n", key)
    key = key.strip()
    assert curl(serving, "/api/v1/models", key)[0] == 200
    assert curl(serving, "/api/v1/keys", key)[0] == 403
    assert command("key", "revoke", key, *data).returncode == 0
    assert curl(serving, "/api/v1/models", key)[0] == 401
    listed = command("model", "list", *data)
    assert "smollm2-135m-instruct" in listed.stdout


def test_a_sign_in_link_made_by_command_leads_to_the_running_server(serving: Serving, folder: Path) -> None:
    link = command("user", "link", "--email", "admin@localhost", "--data", str(folder)).stdout.strip()
    assert link.startswith(f"{serving.address}/sign-in/")
    page = subprocess.run(["curl", "-sS", link], capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    assert "signs you in once" in page


def test_a_password_is_read_from_standard_input_and_stored_as_argon2id(serving: Serving, folder: Path) -> None:
    arguments = ["user", "create", "--name", "Bob", "--role", "auditor", "--password-stdin", "--data", str(folder)]
    assert command(*arguments, "--email", "b@example.org", input="correct horse battery\n").returncode == 0
    refused = command(*arguments, "--email", "c@example.org", input="short\n")
    assert refused.returncode == 1
    assert "at least 12 characters" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["key", "create", "--user", "nobody@x", "--name", "k"], "There is no user nobody@x."),
        (["key", "create", "--user", "admin@localhost", "--name", "k", "--scopes", "fly"], "'fly' is no scope"),
        (["key", "create", "--user", "admin@localhost", "--name", "k", "--expires", "someday"], "date or"),
        (["key", "revoke", "key-none"], "There is no key key-none."),
        (["user", "create", "--email", "admin@localhost", "--name", "A", "--role", "user"], "already"),
    ],
)
def test_what_a_command_cannot_do_is_one_line(serving: Serving, folder: Path, arguments: list[str], says: str) -> None:
    done = command(*arguments, "--data", str(folder))
    assert done.returncode in (1, EXIT_USAGE)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_the_doctor_finds_a_running_appliance_well(serving: Serving, folder: Path) -> None:
    port = serving.address.rpartition(":")[2]
    done = command("doctor", "--data", str(folder), "--port", port)
    assert done.returncode == 0, done.stdout
    for subject in ("data folder", "disk", "processor", "port", "clock", "file", "model smollm2-135m-instruct"):
        assert subject in done.stdout


def test_a_command_on_a_folder_without_an_appliance_says_how_to_start_one(tmp_path: Path) -> None:
    done = command("model", "list", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "secureai serve" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_option_out_of_bounds_is_named_and_exits_with_2(tmp_path: Path) -> None:
    done = command("serve", "--data", str(tmp_path), "--port", "70000")
    assert done.returncode == EXIT_USAGE
    assert "--port" in done.stderr


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_version_is_printed(asked: str) -> None:
    assert re.fullmatch(r"secureai \d+\.\d+\.\d+\n", command(asked).stdout)


def test_without_a_terminal_the_key_is_in_a_file_and_the_printed_curl_line_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    process = subprocess.Popen(
        [*SECUREAI, "serve", "--data", str(folder), "--port", "0", "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    printed = ""
    while "}'" not in printed:
        printed += process.stdout.readline()
    try:
        assert "sk-" not in printed.replace("s/^API key", "")
        assert stat.S_IMODE((folder / "first-start.txt").stat().st_mode) == 0o600
        line = printed[printed.index("curl ") :].replace('"max_tokens": 500', '"max_tokens": 4')
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=PATIENCE)
        assert json.loads(done.stdout)["choices"]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_sigterm_ends_a_running_stream_with_done_and_exits_with_0(tmp_path: Path) -> None:
    serving = start(tmp_path / "data")
    body = '{"model": "default", "stream": true, "max_tokens": 6000, "messages": [{"role": "user",'
    body += ' "content": "Tell an endless story."}]}'
    headers = ["-H", f"Authorization: Bearer {serving.key}", "-H", "Content-Type: application/json"]
    client = subprocess.Popen(
        ["curl", "-sN", f"{serving.address}/api/v1/chat/completions", *headers, "-d", body],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    while '"content":"' not in client.stdout.readline().replace('"content":""', ""):
        pass
    serving.process.send_signal(signal.SIGTERM)
    rest = client.stdout.read()
    assert rest.rstrip().endswith("data: [DONE]")
    assert serving.process.wait(PATIENCE) == 0
    assert not (tmp_path / "data" / "secureai.db-wal").exists()


def test_a_missing_or_wrong_master_key_is_exit_code_4_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    start(folder).stop()
    key = (folder / "master.key").read_bytes()
    before = (folder / "secureai.db").read_bytes()
    for content in (None, os.urandom(32)):
        (folder / "master.key").unlink(missing_ok=True)
        if content is not None:
            (folder / "master.key").write_bytes(content)
        done = command("serve", "--data", str(folder), "--port", "0")
        assert done.returncode == EXIT_MASTER_KEY
        assert done.stderr.count("\n") == 1
        assert (folder / "secureai.db").read_bytes() == before
    (folder / "master.key").write_bytes(key)
    start(folder).stop()


def test_a_newer_schema_is_exit_code_5_and_changes_nothing(tmp_path: Path) -> None:
    import apsw

    folder = tmp_path / "data"
    start(folder).stop()
    connection = apsw.Connection(str(folder / "secureai.db"))
    connection.pragma("user_version", 999)
    connection.close()
    before = (folder / "secureai.db").read_bytes()
    done = command("serve", "--data", str(folder), "--port", "0")
    assert done.returncode == EXIT_NEWER_SCHEMA
    assert (folder / "secureai.db").read_bytes() == before


def test_a_later_start_shows_no_key_and_keeps_what_there_was(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = start(folder)
    first.stop()
    second = start(folder)
    try:
        assert "sk-" not in second.printed
        assert "secureai key create" in second.printed
        assert curl(second, "/api/v1/me", first.key)[0] == 200
    finally:
        second.stop()
