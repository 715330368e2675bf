"""Every test runs with a home, cache and configuration of its own and cannot reach the network.

Weights that were pulled before (``rung models pull``) are linked into the tests' cache; tests marked ``model`` need them.
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from typer.main import get_command

from rung.core.settings import Settings
from rung.core.system.machine import cores, memory
from rung.models import Pool, open_model
from rung.models.wrap import MeteredModel
from rung.store import Store, open_store

# A few random inputs, the same in every run, so that a run fails for what was changed and not by chance. To look for more:
# pytest --hypothesis-profile=random, as often as one likes (a failure prints how to have it again).
hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None, max_examples=25)
hypothesis.settings.register_profile("random", deadline=None, print_blob=True, max_examples=300)
hypothesis.settings.load_profile("fixed")

# Hundreds of modules stay for ever: to look through them for garbage while they are imported is a quarter of the time.
gc.disable()

# One thread computes the tests' tiny models. Several only wait for each other, and OpenMP's wait by spinning: on two busy cores
# three times the CPU. Said before torch is imported, and to the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_REAL_CACHE = Settings().cache  # read before any test changes where home is
_KEYS = ("OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_", "RUNG_", "HF_", "AWS_", "AZURE_")


class NetworkBlockedError(RuntimeError):
    """Not an OSError, so that no library takes it for a host that happens to be down."""


def _check(host: object, port: object) -> None:
    name = host.decode() if isinstance(host, bytes) else str(host or "")
    if name in ("", "localhost"):
        return
    try:
        if ipaddress.ip_address(name.partition("%")[0]).is_loopback:
            return
    except ValueError:
        pass
    raise NetworkBlockedError(
        f"a test tried to reach {name}:{port}; tests must not use the network: start a server on 127.0.0.1 instead"
    )


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple):
            _check(*address[:2])
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        if isinstance(address, tuple):
            _check(*address[:2])
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, port: Any, *args: Any, **named: Any) -> Any:
        _check(host, port)
        return getaddrinfo(host, port, *args, **named)

    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
    yield
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def _one_command_line() -> Iterator[None]:
    """The verbs are put together once, not (0.1 s) at each call from a test."""
    patch = pytest.MonkeyPatch()
    patch.setattr("typer.testing._get_command", cache(get_command))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def _session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with links to the weights that were pulled and to what was derived from them (named by content)."""
    made = tmp_path_factory.mktemp("cache")
    for shelf in ("models", "openvino", "bases"):
        for entry in sorted((_REAL_CACHE / shelf).glob("[!.]*")) if (_REAL_CACHE / shelf).is_dir() else ():
            target = made / "rung" / shelf / entry.name
            if shelf == "models":
                target.mkdir(parents=True)
                for file in entry.iterdir():
                    (target / file.name).symlink_to(file)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(entry)
    return made


@pytest.fixture(autouse=True)
def _own_home(_session_cache: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_KEYS):
            monkeypatch.delenv(name)
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(_session_cache))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings({"home": str(tmp_path / "home"), "store": f"sqlite:///{tmp_path / 'rung.db'}"})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings.store_url) as opened:
        yield opened


@pytest.fixture
def pool(settings: Settings) -> Pool:
    return Pool(settings, default="fake:echo")


_SLOW = {
    line.split()[1]: float(line.split()[0])
    for line in (Path(__file__).parent / "slow.txt").read_text(encoding="utf-8").splitlines()
}
"""Files that take seconds as a whole (a process for each test, a small training, an index for each backend), and how many:
waits count, too. ``pytest -n 0 --durations 0 -vv`` says it of one."""


def _name(path: Path) -> str:
    return path.relative_to(Path(__file__).parent).as_posix()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: tests of servers and of killed processes wait. No more than there is memory for: a
    worker that has opened the embedded model and torch holds some 2 GB, the one that trains 3.7 for a while."""
    fit = memory() // 2_500_000_000 or 1
    return int(os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") or min(cores() + 1, fit))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where slow tests are left out, files that hold nothing else are not imported."""
    if "not slow" not in config.option.markexpr or collection_path.suffix != ".py":
        return None
    whole = re.search(r"^pytestmark = .*mark\.(model|server|slow)", collection_path.read_text("utf-8"), re.MULTILINE)
    return True if whole or _name(collection_path) in _SLOW else None


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def embedded() -> Iterator[MeteredModel]:
    """The embedded model, for tests that only ask it: to open it takes seconds."""
    opened = open_model("openvino:smollm2-135m")
    yield opened
    asyncio.run(opened.close())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _name(item.path) in _SLOW:
            item.add_marker(pytest.mark.slow)
    # The longest files begin, so that no core ends alone with one.
    items.sort(key=lambda item: -_SLOW.get(_name(item.path), 0.0))
    if (_REAL_CACHE / "models" / "smollm2-135m").is_dir():
        return
    absent = pytest.mark.skip(reason="the embedded model is not on this machine; type: rung models pull")
    for item in items:
        if item.get_closest_marker("model") is not None:
            item.add_marker(absent)
