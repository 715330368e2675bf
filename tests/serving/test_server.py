"""The server as a process of its own: signals, addresses, keys."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx
import openai
import pytest
from loopback import program

from rung.core import program as programs
from rung.core.errors import InputError
from rung.models import Pool
from rung.serving.keys import Keys, hash_key
from rung.serving.server import address, is_loopback, listen

pytestmark = pytest.mark.server

VERB = "import typer; from rung.cli.serve import serve; typer.run(serve)"
HI: list[Any] = [{"role": "user", "content": "hello there"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return programs.save(program(Pool().model("fake:slow")), tmp_path / "slow")


class Running:
    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", VERB, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said: list[str] = []
        out: IO[str] = self.process.stdout  # type: ignore[assignment]
        self.url = ""
        for line in out:
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


def test_sigterm_finishes_what_is_at_work_and_ends_well(server: Running) -> None:
    api = openai.OpenAI(base_url=server.url, api_key="none", max_retries=2)
    assert {model.id for model in api.models.list()} == {"rung/slow", "fake:slow"}
    done: list[str] = []

    def ask() -> None:
        stream = api.chat.completions.create(model="rung/slow", messages=HI, stream=True)
        done.append("".join(chunk.choices[0].delta.content or "" for chunk in stream))

    askers = [threading.Thread(target=ask) for _ in range(5)]
    for asker in askers:
        asker.start()
    root = server.url.removesuffix("/v1")
    while httpx.get(f"{root}/ready").json()["running"] < 5:
        time.sleep(0.005)
    server.process.send_signal(signal.SIGTERM)
    for asker in askers:
        asker.join()
    assert done == ["hello there"] * 5
    assert server.process.wait(10) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{root}/health")
    rest, log = server.process.communicate()
    assert "stopped" in rest
    assert log.count("POST /v1/chat/completions 200") == 5
    assert "Traceback" not in log


def test_a_second_signal_does_not_wait(folder: Path) -> None:
    running = Running(str(folder), "--port", "0", "--grace", "60")
    host, _, port = running.url.removeprefix("http://").removesuffix("/v1").partition(":")
    with socket.create_connection((host, int(port))) as link:  # a body that never ends
        link.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
        time.sleep(0.3)
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
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


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


def test_a_public_address_needs_keys() -> None:
    with pytest.raises(InputError, match="--new-key"):
        listen("0.0.0.0", 0, Keys())
    bound = listen("0.0.0.0", 0, Keys([hash_key("k")]))
    assert address(bound).startswith("http://127.0.0.1:")
    with pytest.raises(InputError, match="--port 0"):
        listen("127.0.0.1", bound.getsockname()[1], Keys())
    bound.close()


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
