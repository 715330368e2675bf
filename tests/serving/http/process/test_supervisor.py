"""Real processes: a rolling restart under load, a worker that dies, a supervisor that ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.server, pytest.mark.slow]

BODY = json.dumps({"model": "fake:echo", "messages": [{"role": "user", "content": "hello"}]}).encode()


class Running:
    """``rung serve --workers 2``; ``lines`` is what it said."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "rung", "serve", "-m", "fake:echo", "--port", "0", "--workers", "2"]
        self.log = folder / "log"
        self.process = subprocess.Popen(command, stdout=self.log.open("wb"), stderr=subprocess.STDOUT, cwd=folder)
        self.port = int(self.wait(r"serving at http://127\.0\.0\.1:(\d+)")[1])
        self.wait("workers are ready")

    def wait(self, pattern: str) -> re.Match[str]:
        for _ in range(1200):
            if found := re.search(pattern, self.log.read_text()):
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def children(self) -> list[int]:
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in listed.stdout.split()]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    try:
        yield made
    finally:
        made.process.terminate()
        made.process.wait(20)


async def ask(port: int, until: asyncio.Event, counts: dict[str, int]) -> None:
    """One client that keeps its connection, and opens another where it is told to."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    writer: asyncio.StreamWriter | None = None
    while not until.is_set():
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + BODY)
            said = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", said)
            assert length is not None
            await reader.readexactly(int(length[1]))
            counts["ok" if b" 200 " in said.split(b"\r\n")[0] else "wrong"] += 1
            if b"connection: close" in said:
                writer.close()
                writer = None
        except (ConnectionError, asyncio.IncompleteReadError):
            counts["lost"] += 1
            writer = None
        await asyncio.sleep(0.005)


async def test_a_rolling_restart_loses_nothing(running: Running) -> None:
    counts, until = {"ok": 0, "wrong": 0, "lost": 0}, asyncio.Event()
    clients = [asyncio.create_task(ask(running.port, until, counts)) for _ in range(8)]
    before = running.children()
    await asyncio.sleep(0.3)
    running.process.send_signal(signal.SIGUSR2)
    await asyncio.to_thread(running.wait, "workers were restarted")
    await asyncio.sleep(0.3)
    until.set()
    await asyncio.gather(*clients)
    assert not set(before) & set(running.children())
    assert counts["ok"] > 200
    assert (counts["wrong"], counts["lost"]) == (0, 0)

    # Metrics are those of all workers, and a worker that dies is replaced.
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}") as http:
        families = {f.name: f for f in text_string_to_metric_families((await http.get("/metrics")).text)}
        total = sum(
            s.value
            for s in families["rung_requests"].samples
            if s.name == "rung_requests_total" and s.labels["model"] == "fake:echo"
        )
        assert total == counts["ok"]
    os.kill(running.children()[0], signal.SIGKILL)
    await asyncio.to_thread(running.wait, "is started again")
    for _ in range(200):
        if len(running.children()) == 2:
            break
        await asyncio.sleep(0.05)
    assert len(running.children()) == 2


async def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    made = Running(tmp_path)
    children = made.children()
    assert len(children) == 2
    made.process.kill()
    made.process.wait(10)
    for _ in range(200):
        if not any(
            Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children
        ):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("a worker goes on alone")
