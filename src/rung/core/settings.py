"""Settings: one flat table of typed keys; flags win over the environment, that over the project's file, the user's file
and the default. In an environment of a name (``rung --env prod``, RUNG_ENV) a file ``rung.prod.toml`` beside each of
the two files wins over it. ``explain`` tells for each key which of them won, and what the others say."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Key:
    """A setting: its type, default and one line of help. The environment variable is ``RUNG_`` + the name in capitals.

    ``personal``: it says whom to trust, so that a project's file, which may come from anybody, cannot set it. A setting
    of kind dict is a table of texts in a file, and ``NAME=VALUE`` separated by spaces in the environment.
    """

    name: str
    kind: type
    default: Any
    help: str
    personal: bool = False

    @property
    def variable(self) -> str:
        return "RUNG_" + self.name.upper()


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rung"


def user_file() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "rung" / "rung.toml"


KEYS: dict[str, Key] = {
    key.name: key
    for key in (
        Key("model", str, "openvino:smollm2-135m", "the model that is used when a task or command names none"),
        Key("store", str, "", "store URL (sqlite:///FILE or postgresql://...); empty: .rung/rung.db in the project"),
        Key("home", str, ".rung", "folder for runs, reports and artefacts"),
        Key("cache", str, "", "folder for weights; empty: the user's cache folder"),
        Key("threads", int, 0, "threads of the embedded engine; 0: all cores"),
        Key(
            "precision",
            str,
            "auto",
            "the embedded engine's: auto (f32), f32, or bf16 (faster where native, less exact)",
        ),
        Key("embeddings", int, 1024, "megabytes of embeddings kept on disk at most; 0: keep none"),
        Key("concurrency", int, 64, "answers in flight at once"),
        Key("timeout", float, 120.0, "seconds before a hosted call is given up"),
        Key("retries", int, 5, "how often a failed hosted call is tried again"),
        Key(
            "keys",
            dict,
            {},
            "which variable holds the key of a server: URL=VARIABLE, separated by spaces",
            personal=True,
        ),
        Key("plain_http", bool, False, "allow models on other machines to be asked over plain HTTP", personal=True),
        Key("rate", float, 0.0, "hosted calls a second at most; 0: no limit"),
        Key("prices", str, "", "a YAML file of prices that override the built-in table"),
        Key("core_hour", float, 0.05, "US dollars that an hour of one core counts when rungs' costs are compared"),
        Key("broker", str, "", "address of the message broker: amqp://... or kafka://HOST:PORT", personal=True),
        Key("host", str, "127.0.0.1", "address that servers listen on"),
        Key("port", int, 8321, "port that servers listen on"),
    )
}


ENVIRONMENT = "RUNG_ENV"
"""The variable that names the environment: dev, prod, ..."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from. ``layers``: all that say something, the one that won first, the default last."""

    value: Any
    source: str
    layers: tuple[tuple[str, Any], ...] = ()


def _convert(key: Key, raw: Any, source: str) -> Any:
    try:
        if key.kind is dict:
            return _mapping(raw)
        if key.kind is bool and isinstance(raw, str):
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[raw.lower()]
        if isinstance(raw, bool) is not (key.kind is bool):
            raise ValueError
        if key.kind is str and not isinstance(raw, str | os.PathLike):
            raise ValueError
        value = key.kind(raw)
        if isinstance(raw, float) and value != raw:  # 2.5 threads
            raise ValueError
        return value
    except (KeyError, ValueError, TypeError, OverflowError):
        expected = "NAME=VALUE, separated by spaces" if key.kind is dict else key.kind.__name__
        raise InputError(
            f"setting {key.name} from {source}: got {raw!r}, expected {expected}",
            remedy=f"correct it there, or override it: {key.variable}={'' if key.kind is dict else repr(key.default)}",
        ) from None


def _mapping(raw: Any) -> dict[str, str]:
    pairs = raw.items() if isinstance(raw, Mapping) else [pair.rpartition("=")[::2] for pair in raw.split()]
    found = dict(pairs)
    if not all(isinstance(value, str) and name and value for name, value in found.items()):
        raise ValueError
    return found


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as stream:
            document = tomllib.load(stream)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # ValueError: not TOML, or not UTF-8
        raise InputError(f"cannot read settings: {error}", file=path, remedy="correct or remove the file") from None
    unknown = sorted(set(document) - set(KEYS))
    if unknown:
        raise InputError(f"unknown setting {', '.join(unknown)}", file=path, remedy=f"known: {', '.join(sorted(KEYS))}")
    return document


def _read_project(path: Path) -> Mapping[str, Any]:
    """A project's settings. Raises InputError for what only the person may set: whom to trust, and where data is
    sent."""
    document = _read(path)
    personal = [name for name in document if KEYS[name].personal]
    if not str(document.get("store") or "sqlite:").startswith("sqlite:"):
        personal.append("store")  # answers, and the password in the environment, would go to the host that it names
    if personal:
        name = personal[0]
        raise InputError(
            f"a project's file cannot set {name}{' to a server' if name == 'store' else ''}: it may come from anybody",
            file=path,
            remedy=f"move it to {user_file()}, or set {KEYS[name].variable}",
            code="personal-setting",
        )
    return document


def _overlaid(base: Path, name: str, read: Callable[[Path], Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """A file of settings with that of the environment ``name`` before it, where there is one."""
    files = [base.with_name(f"{base.stem}.{name}{base.suffix}"), base] if name else [base]
    return [(str(file), read(file)) for file in files]


def _environment(*bases: Path) -> str:
    """The environment's name. Raises InputError for one that no file is there for."""
    name = os.environ.get(ENVIRONMENT, "")
    if not name:
        return ""
    found = {
        file.name[len(base.stem) + 1 : -len(base.suffix)]
        for base in bases
        for file in (base.parent.glob(f"{base.stem}.*{base.suffix}") if base.parent.is_dir() else ())
    }
    word = re.fullmatch(r"[A-Za-z0-9_-]+", name) is not None
    if not word or name not in found:
        file = f"{bases[0].stem}.{name if word else 'NAME'}{bases[0].suffix}"
        raise InputError(
            f"there are no settings for the environment {name!r}",
            remedy=f"write them into {bases[0].with_name(file)}; there are: {', '.join(sorted(found)) or 'none'}",
            code="no-environment",
        )
    return name


class Settings:
    """Resolved settings. ``flags`` are values given on the command line or by a caller (None: not given)."""

    def __init__(self, flags: Mapping[str, Any] | None = None, *, folder: Path | None = None) -> None:
        project = (folder or Path.cwd()) / "rung.toml"
        layers: list[tuple[str, Mapping[str, Any]]] = [
            ("flag", {name: value for name, value in (flags or {}).items() if value is not None}),
            ("environment", {k.name: os.environ[k.variable] for k in KEYS.values() if k.variable in os.environ}),
        ]
        name = _environment(project, user_file())
        layers += _overlaid(project, name, _read_project) + _overlaid(user_file(), name, _read)
        self._values: dict[str, Setting] = {}
        for key in KEYS.values():
            said = [
                (f"environment {key.variable}" if source == "environment" else source, layer[key.name])
                for source, layer in layers
                if key.name in layer
            ]
            value = _convert(key, said[0][1], said[0][0]) if said else key.default
            said.append(("default", key.default))
            self._values[key.name] = Setting(value, said[0][0], tuple(said))

    def __getitem__(self, name: str) -> Any:
        return self._values[name].value

    def explain(self) -> dict[str, Setting]:
        """Every key with its value and where it came from."""
        return dict(self._values)

    @property
    def home(self) -> Path:
        return Path(self["home"])

    @property
    def cache(self) -> Path:
        return Path(self["cache"]) if self["cache"] else cache_folder()

    @property
    def store_url(self) -> str:
        return self["store"] or f"sqlite:///{self.home / 'rung.db'}"
