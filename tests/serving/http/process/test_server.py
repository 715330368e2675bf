"""The server as a process of its own: signals, addresses, keys."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.settings import Settings
from rung.core.types import Document
from rung.models import Pool
from rung.retrieval.collection.collection import Collection
from rung.retrieval.collection.folders import locate
from rung.serving.access.keys import hash_key
from rung.serving.http.process.server import address, is_loopback, listen
from tests.child import Child, imported
from tests.serving.loopback import program

pytestmark = pytest.mark.server

VERB = "import typer; from rung.cli.use.serve import serve; typer.run(serve)"


@pytest.fixture(scope="module", autouse=True)
def _children() -> Iterator[None]:
    with imported("rung.cli.use.serve", "rung.serving.http.process.run", "uvicorn", "fastapi"):
        yield


HI: list[Any] = [{"role": "user", "content": "hello there"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return programs.save(program(Pool().model("fake:slow")), tmp_path / "slow")


class Running:
    def __init__(self, *arguments: str) -> None:
        self.process = Child(VERB, *arguments)
        self.said: list[str] = []
        self.url = ""
        for line in self.process.stdout:
            self.said.append(line)
            if found := re.search(r"serving at (\S+)", line):
                self.url = found[1]
                return
        raise AssertionError("".join(self.said) + self.process.communicate()[1])


@pytest.fixture
def server(folder: Path) -> Iterator[Running]:
    running = Running(str(folder), "--port", "0", "--raw")
    yield running
    running.process.kill()
    running.process.communicate()


def begin(url: str, body: bytes) -> socket.socket:
    """A request whose body is still on its way: all of ``body`` but its last byte is sent."""
    host, _, port = url.removeprefix("http://").removesuffix("/v1").partition(":")
    link = socket.create_connection((host, int(port)), timeout=20)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    link.sendall(head.encode() + body[:-1])
    return link


def test_sigterm_finishes_what_is_at_work_and_ends_well(server: Running) -> None:
    api = openai.OpenAI(base_url=server.url, api_key="none")
    assert {model.id for model in api.models.list()} == {"rung/slow", "fake:slow"}
    links = []
    for stream in (False, True):
        body = json.dumps({"model": "rung/slow", "messages": HI, "stream": stream}).encode()
        links.append((begin(server.url, body), body))
    api.models.list()  # the two before it have been taken up
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.process.poll() is None
    for link, body in links:
        link.sendall(body[-1:])
    for link, _ in links:
        said = b""
        while part := link.recv(65536):
            said += part
        link.close()
        assert b"200 OK" in said.partition(b"\r\n")[0]
        assert b"hello there" in said or b'"content":" there"' in said
    assert server.process.wait(20) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url.removesuffix('/v1')}/health")
    rest, log = server.process.communicate()
    assert "stopped" in rest
    assert log.count("POST /v1/chat/completions 200") == 2
    assert "Traceback" not in log


def test_a_second_signal_does_not_wait(folder: Path) -> None:
    running = Running(str(folder), "--port", "0", "--grace", "60")
    with begin(running.url, b"{}"):  # a body that never ends
        httpx.get(f"{running.url}/models")
        running.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(0.5)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0
    running.process.communicate()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from rung.core.errors import RungError\ntry:\n  "
        + VERB
        + "\nexcept RungError as e: sys.exit(str(e))"
    )
    done = Child(code, *arguments, folder=None, **environment)
    out, err = done.communicate(60)
    return subprocess.CompletedProcess(arguments, done.wait(), out, err)


def test_a_new_key_is_shown_once(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    shown = run("--new-key", "--key-file", str(path))
    key = shown.stdout.strip()
    assert hash_key(key) == path.read_text().strip()
    assert hash_key(run("--new-key", RUNG_API_KEYS=str(path)).stdout.strip()) in path.read_text()


def test_nothing_or_damage_is_an_error_that_says_what_to_type(tmp_path: Path, folder: Path) -> None:
    assert "rung serve DIR" in run().stderr
    (folder / "program.json").write_text("{")
    told = run(str(folder), "--port", "0")
    assert "export the program again" in told.stderr
    assert "Traceback" not in told.stderr
    assert told.returncode != 0


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 on this machine")
def test_an_ipv6_address_may_stand_in_brackets() -> None:
    with listen("[::1]", 0) as bound:
        port = bound.getsockname()[1]
        assert address(bound) == f"http://[::1]:{port}/v1"
        with pytest.raises(InputError, match=rf"cannot listen on \[::1\]:{port}"):
            listen("::1", port)


def test_a_public_address_needs_keys() -> None:
    with pytest.raises(InputError, match="--new-key"):
        listen("0.0.0.0", 0)
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        assert address(bound) == f"http://127.0.0.1:{port}/v1"
        with pytest.raises(InputError, match="--port 0"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("example.org", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_collections_are_served_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_HOME", str(tmp_path))
    with Collection.create(locate("pets", Settings().home), embedder=None) as made:
        made.upsert([Document("otter", "Otters sleep.")])
    running = Running("--search", "pets", "--port", "0")
    try:
        assert running.said[:2] == ["  index pets\n", f"search page: {running.url.removesuffix('/v1')}/search\n"]
        found = httpx.get(f"{running.url}/search", params={"q": "otters", "mode": "keyword"}, timeout=20).json()
        assert [hit["document"] for hit in found["hits"]] == ["otter"]
        assert httpx.get(f"{running.url}/models", timeout=20).json()["data"] == []
        running.process.send_signal(signal.SIGTERM)
        err = running.process.communicate(timeout=30)[1]
        assert running.process.returncode == 0
        assert "otters" not in err  # queries are not logged
    finally:
        running.process.kill()
        running.process.communicate()
