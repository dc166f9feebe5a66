"""Boot options: one table, from which the command line, the environment, the TOML file and the documentation are made.

Precedence: command line, then `SECUREAI_*` variables, then the TOML file, then the default.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from secureai_appliance.core.errors import EXIT_USAGE, StartupError
from secureai_appliance.core.paths import DataFolder, default_data_folder

ENVIRONMENT_PREFIX = "SECUREAI_"

Value = str | int | bool | tuple[str, ...] | None


@dataclass(frozen=True)
class Form:
    """What a text must look like beyond its type: `holds` says whether it does, `words` what is expected."""

    holds: Callable[[str], bool]
    words: str


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0 and not url.query + url.fragment
    except ValueError:
        return False


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


_URL = Form(_is_url, "an address such as https://ai.example.org")
_NETWORK = Form(_is_network, "addresses or networks such as 10.0.0.0/8")


@dataclass(frozen=True)
class Option:
    """One row of the table: what a boot option is called everywhere, and what it may be."""

    name: str
    kind: type
    default: Value
    help: str
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    form: Form | None = None

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()


def _option(
    default: Value,
    help: str,
    *,
    minimum: int | None = None,
    maximum: int | None = None,
    choices: tuple[str, ...] = (),
    form: Form | None = None,
) -> Any:
    return dataclasses.field(
        default=default,
        metadata={"help": help, "minimum": minimum, "maximum": maximum, "choices": choices, "form": form},
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All boot options. A field here is an option everywhere."""

    data: str = _option("", "Folder that holds everything the appliance keeps. Default: $XDG_DATA_HOME/secureai.")
    host: str = _option("127.0.0.1", "Address to listen on; 0.0.0.0 serves the local network.")
    port: int = _option(8080, "TCP port to listen on; 0 takes a free one.", minimum=0, maximum=65535)
    public_url: str = _option("", "Address that clients use, for links. Default: http://HOST:PORT.", form=_URL)
    key_file: str = _option("", "File of the master key. Default: master.key in the data folder.")
    log_level: str = _option(
        "info", "Least important log lines to write.", choices=("debug", "info", "warning", "error")
    )
    max_streams: int = _option(64, "Completions and other long answers at the same time.", minimum=1, maximum=1000)
    max_upload: int = _option(
        256, "Megabytes that a form with files may have; larger files come in parts.", minimum=16, maximum=512
    )
    trusted_proxies: tuple[str, ...] = _option(
        (), "Addresses of reverse proxies whose X-Forwarded-For is believed (comma-separated).", form=_NETWORK
    )
    metrics_public: bool = _option(False, "Let /metrics be read without a key.")
    context_length: int = _option(
        8192,
        "Tokens that one request may use, prompt and answer; a model trained for fewer takes fewer.",
        minimum=256,
        maximum=1_048_576,
    )
    slots: int = _option(8, "Requests that one chat model works on at the same time.", minimum=1, maximum=256)
    max_waiting: int = _option(64, "Requests that may wait for one model.", minimum=0, maximum=10_000)
    max_wait: int = _option(120, "Seconds that a request may wait for a model.", minimum=1, maximum=3600)
    threads: int = _option(0, "Threads for inference; 0 takes one per core.", minimum=0, maximum=1024)

    model_memory: int = _option(
        0,
        "Memory in MB that all loaded models may take together; 0 takes 70 % of what is free at the start.",
        minimum=0,
        maximum=100_000_000,
    )
    idle_unload: int = _option(
        0, "Seconds after which a model that nobody uses leaves memory; 0: when another needs it.", minimum=0
    )

    @property
    def data_folder(self) -> DataFolder:
        """The data folder, by its absolute path."""
        root = Path(self.data).expanduser() if self.data else default_data_folder()
        return DataFolder(root.absolute())

    @property
    def master_key(self) -> Path:
        """Where the master key is, or will be made."""
        return Path(self.key_file).expanduser() if self.key_file else self.data_folder.master_key


def options() -> tuple[Option, ...]:
    """The table."""
    kinds = {"str": str, "int": int, "bool": bool, "tuple[str, ...]": tuple}
    return tuple(
        Option(
            name=field.name,
            kind=kinds[cast(str, field.type)],
            default=cast(Value, field.default),
            help=field.metadata["help"],
            minimum=field.metadata["minimum"],
            maximum=field.metadata["maximum"],
            choices=field.metadata["choices"],
            form=field.metadata["form"],
        )
        for field in dataclasses.fields(Settings)
    )


def load(arguments: Mapping[str, Value], environment: Mapping[str, str], config: str | None = None) -> Settings:
    """Put the options together. `arguments` holds what was given on the command line (None: not given).

    `config` names the TOML file; without it `SECUREAI_CONFIG`, then `secureai.toml` in the data folder if there is one.
    Raises StartupError (exit code 2) that names the option, where it was set, and what it may be.
    """
    table = {option.name: option for option in options()}
    given = {name: value for name, value in arguments.items() if value is not None and name in table}
    from_environment: dict[str, Value] = {
        name: _parse(option, environment[option.variable], option.variable)
        for name, option in table.items()
        if environment.get(option.variable, "") != ""
    }
    values: dict[str, Value] = {**from_environment, **given}
    folder = dataclasses.replace(Settings(), data=str(values.get("data", ""))).data_folder
    from_file = _from_file(config or environment.get(ENVIRONMENT_PREFIX + "CONFIG"), folder, table)
    values = {**from_file, **values}
    for name, value in values.items():
        _check(table[name], value, _where(name, given, from_environment, table))
    return Settings(**cast(dict[str, Any], values))


def _where(name: str, given: Mapping[str, Value], environment: Mapping[str, Value], table: Mapping[str, Option]) -> str:
    if name in given:
        return table[name].flag
    return table[name].variable if name in environment else f"{name} in the configuration file"


def _from_file(named: str | None, folder: DataFolder, table: Mapping[str, Option]) -> dict[str, Value]:
    path = Path(named).expanduser() if named else folder.config
    if not named and not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as cause:
        raise StartupError(f"The configuration file {path} can't be read: {cause.strerror}.", EXIT_USAGE) from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise StartupError(f"The configuration file {path} is not TOML: {cause}.", EXIT_USAGE) from cause
    unknown = sorted(set(content) - set(table))
    if unknown:
        raise StartupError(
            f"The configuration file {path} sets '{unknown[0]}', which is no option. Options: {', '.join(table)}.",
            EXIT_USAGE,
        )
    return {name: _from_toml(table[name], value, path) for name, value in content.items()}


def _from_toml(option: Option, value: object, path: Path) -> Value:
    if option.kind is tuple and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if option.kind is not tuple and type(value) is option.kind:
        return cast(Value, value)
    expected = "a list of strings" if option.kind is tuple else f"of type {option.kind.__name__}"
    raise StartupError(f"'{option.name}' in {path} must be {expected}.", EXIT_USAGE)


def _parse(option: Option, text: str, where: str) -> Value:
    if option.kind is bool:
        word = text.strip().lower()
        if word not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
            raise StartupError(f"{where} must be true or false, not '{text}'.", EXIT_USAGE)
        return word in {"1", "true", "yes", "on"}
    if option.kind is int:
        try:
            return int(text)
        except ValueError as cause:
            raise StartupError(f"{where} must be a whole number, not '{text}'.", EXIT_USAGE) from cause
    if option.kind is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _check(option: Option, value: Value, where: str) -> None:
    if option.choices and value not in option.choices:
        raise StartupError(f"{where} must be one of {', '.join(option.choices)}, not '{value}'.", EXIT_USAGE)
    if isinstance(value, int) and option.minimum is not None and value < option.minimum:
        raise StartupError(f"{where} must be at least {option.minimum}, not {value}.", EXIT_USAGE)
    if isinstance(value, int) and option.maximum is not None and value > option.maximum:
        raise StartupError(f"{where} must be at most {option.maximum}, not {value}.", EXIT_USAGE)
    for text in value if isinstance(value, tuple) else [value]:
        if option.form is not None and text and not option.form.holds(str(text)):
            raise StartupError(f"{where} must be {option.form.words}, not '{text}'.", EXIT_USAGE)


def table_as_markdown() -> str:
    """The table for the documentation; a test compares."""
    rows = ["| option | variable | default | what it is |", "|---|---|---|---|"]
    for option in options():
        default = ",".join(option.default) if isinstance(option.default, tuple) else option.default
        shown = f"`{str(default).lower() if isinstance(default, bool) else default}`" if default != "" else ""
        rows.append(f"| `{option.flag}` | `{option.variable}` | {shown} | {option.help} |")
    return "\n".join(rows) + "\n"
