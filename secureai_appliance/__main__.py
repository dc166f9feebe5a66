"""Arguments in, command line out; workers take the short way, because a probe must not load the web."""

from __future__ import annotations

import sys


def main() -> None:
    """Run a command, or, after `--worker`, the part of a command that needs its own process."""
    if sys.argv[1:2] == ["--worker"]:
        _work(sys.argv[2], sys.argv[3:])
        return
    from secureai_appliance.cli import cli

    cli()


def _work(name: str, arguments: list[str]) -> None:
    match name:
        case "probe-model":
            from secureai_appliance.inference import probe

            sys.exit(probe.main(arguments))
        case "extract":
            from secureai_appliance.knowledge.extract import child

            sys.exit(child.main(arguments))
        case _:
            sys.exit(f"No worker is named {name}.")


if __name__ == "__main__":
    main()
