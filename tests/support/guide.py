"""The examples of the API guide, as they stand."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from secureai_appliance.core.ids import random_text
from tests.support.running import Running

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def blocks(title: str, language: str = "sh") -> list[str]:
    """The code blocks under a heading, up to the next one of its level or above."""
    level = title.partition(" ")[0]
    chapter = re.search(
        rf"^{re.escape(title)}\n(.*?)^#{{1,{len(level)}}} ", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert chapter is not None, title
    return re.findall(rf"^```{language}\n(.*?)^```", chapter[1], re.MULTILINE | re.DOTALL)


def commands(title: str) -> list[str]:
    """The lines of the shell examples under a heading."""
    joined = "".join(blocks(title)).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line]


def environment(api: Running) -> dict[str, str]:
    """What the examples name. The key is that of a new administrator, who has none of the things that they make."""
    key = api.make_user(f"{random_text(8)}@guide.example", role="admin")
    return {**os.environ, "SERVER": api.appliance.address, "SECUREAI_KEY": key}


def run(command: str, environment: dict[str, str]) -> str:
    """What a line prints; it has to work."""
    strict = command.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
    done = subprocess.run(["sh", "-c", strict], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout
