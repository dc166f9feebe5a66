"""The packaged program, started as on a machine with nothing else installed."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "dist" / "secureai"
NOBODY = 65534
LONGEST_START = 60.0

# what is left on a server when nothing was ever installed: the C library, and the libz that every package manager needs
_SYSTEM_LIBRARIES = (
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
    "libresolv.so.2",
    "libz.so.1",
)
_LOADER = Path("/lib64/ld-linux-x86-64.so.2")

# the end of what a first start prints (the curl command and a blank line), and of what later ones do
_WELCOMED = re.compile(r"ready at .*(\ncurl .*\n\n|Make an API key: .*\n)", re.DOTALL)

# In a mount namespace of its own, which ends with the program. $1 is the root, $2 how its /tmp is mounted.
_ENTER = """
set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs -o "mode=1777,$2" tmpfs "$1/tmp"
root=$1; shift 2
exec env -i "$(command -v chroot)" --userspec=65534:65534 "$root" /secureai "$@"
"""


def can_isolate() -> bool:
    """Whether this user may make an empty root; others start the program in an ordinary folder."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode == 0


@dataclass
class Machine:
    """A root with the program, the C library, /proc, /dev, an empty /tmp and a folder for data. Nothing else."""

    root: Path
    isolated: bool

    @classmethod
    def make(cls, root: Path) -> Machine:
        machine = cls(root, can_isolate())
        root.chmod(0o755)
        for folder in ("proc", "dev", "tmp", "srv"):
            (root / folder).mkdir()
        if machine.isolated:
            os.chown(root / "srv", NOBODY, NOBODY)
            machine._copy_libraries()
        _link_or_copy(PROGRAM, root / "secureai")
        return machine

    @property
    def data(self) -> Path:
        """The data folder, as seen from outside."""
        return self.root / "srv" / "data"

    @property
    def data_inside(self) -> str:
        """The same, as the program sees it."""
        return "/srv/data" if self.isolated else str(self.data)

    def command(self, *arguments: str, tmp: str = "exec") -> list[str]:
        """The command line that runs the program in there as an ordinary user with an empty environment."""
        if self.isolated:
            return ["unshare", "--mount", "sh", "-c", _ENTER, "sh", str(self.root), tmp, *arguments]
        return ["env", "-i", str(self.root / "secureai"), *arguments]

    def run(self, *arguments: str, tmp: str = "exec") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, tmp=tmp), check=False, capture_output=True, text=True, timeout=LONGEST_START
        )

    def serve(self, port: int) -> Serving:
        return Serving.start(self.command("serve", "--data", self.data_inside, "--port", str(port)))

    def _copy_libraries(self) -> None:
        folder = _library_folder()
        inside = self.root / folder.relative_to("/")
        inside.mkdir(parents=True)
        for name in _SYSTEM_LIBRARIES:
            shutil.copy(folder / name, inside / name)
        (self.root / _LOADER.parent.relative_to("/")).mkdir(exist_ok=True)
        shutil.copy(_LOADER, self.root / _LOADER.relative_to("/"))


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _library_folder() -> Path:
    """Where this machine keeps its C library; the loader looks in the same folder inside."""
    found = re.search(r"(/\S*)/libc\.so\.6$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    assert found is not None
    return Path(found.group(1))


@dataclass
class Serving:
    """`secureai serve` on a terminal of its own. `ready_after` is in seconds from the start of the process."""

    process: subprocess.Popen[bytes]
    terminal: int
    ready_after: float = 0.0
    printed: str = ""
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        # a terminal that nobody reads is full after some lines of the log, and whoever logs then waits
        self._reader = threading.Thread(target=self._read_on, daemon=True)

    @classmethod
    def start(cls, command: list[str]) -> Serving:
        terminal, inner = pty.openpty()
        started = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=inner, stderr=inner)
        os.close(inner)
        serving = cls(process, terminal, _started=started)
        serving._read_until(_WELCOMED)
        serving._reader.start()
        return serving

    @property
    def address(self) -> str:
        found = re.search(r"ready at (\S+)", self.printed)
        assert found is not None, self.printed
        return found.group(1)

    @property
    def key(self) -> str:
        found = re.search(r"API key: +(\S+)", self.printed)
        assert found is not None, self.printed
        return found.group(1)

    @property
    def curl(self) -> str:
        """The command that the first start prints, as it would be pasted into a shell."""
        found = re.search(r"^curl (?:.*\\\n)*.*$", self.printed, re.MULTILINE)
        assert found is not None, self.printed
        return found.group(0)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=LONGEST_START)
        self._reader.join(LONGEST_START)
        os.close(self.terminal)
        return code

    def kill(self) -> None:
        """SIGKILL, also of one that has ended."""
        self.process.kill()
        self.process.wait(timeout=LONGEST_START)

    def _read_on(self) -> None:
        # the other end of a terminal is closed with an error
        with suppress(OSError):
            while piece := os.read(self.terminal, 65536):
                self.printed += piece.decode(errors="replace").replace("\r\n", "\n")

    def _read_until(self, pattern: re.Pattern[str]) -> None:
        deadline = self._started + LONGEST_START
        while pattern.search(self.printed) is None:
            ready, _, _ = select.select([self.terminal], [], [], max(0.0, deadline - time.monotonic()))
            try:
                piece = os.read(self.terminal, 65536) if ready else b""
            except OSError:
                # the other end of a terminal is closed with an error, not with an empty read
                piece = b""
            if not piece:
                self.process.kill()
                raise AssertionError(f"it did not become ready:\n{self.printed}")
            self.printed += piece.decode().replace("\r\n", "\n")
        self.ready_after = time.monotonic() - self._started
