"""Rolling restarts under load: how many requests fail?

    python bench/restart.py [--requests 20000] [--ways signal,up]

Two gateway processes with every feature on, in front of a backend that answers at once. Four clients keep their connections, four open
one for every request, and none asks twice. ``signal``: ``rung serve --workers 2`` and SIGUSR2, again and again; ``up``: ``rung up`` and
``rung up --restart gateway``. Before each restart the gateway's file is read again (SIGHUP).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gateway import BACKEND, CONFIG, Client, start

RUNG = [sys.executable, "-m", "rung"]
SERVICES = "services: {{gateway: {{run: serve --config gateway.yaml, port: {port}, count: 2}}}}\n"


class Counting:
    """Requests answered and failed, until ``most``."""

    def __init__(self, client: Client, most: int) -> None:
        self.client, self.most = client, most
        self.answered, self.faults = 0, list[str]()

    async def ask(self, *, keep: bool) -> None:
        link = None
        while self.answered + len(self.faults) < self.most:
            try:
                if link is None:
                    link = await asyncio.open_connection("127.0.0.1", self.client.port)
                link[1].write(self.client.request())
                said = await link[0].readuntil(b"\r\n\r\n")
                size = re.search(rb"content-length: (\d+)", said)
                await link[0].readexactly(int(size[1]) if size else 0)
                if b" 200 " in said[:20]:
                    self.answered += 1
                else:
                    self.faults.append(said[:40].decode())
                if not keep or b"connection: close" in said:
                    link[1].close()
                    link = None
            except (OSError, asyncio.IncompleteReadError) as error:
                self.faults.append(f"{type(error).__name__}, {'kept' if keep else 'new'} connection")
                link = None

    async def run(self, supervisor: int, command: list[str]) -> int:
        """Ask, and restart again and again meanwhile: by ``command``, or by a signal. How many restarts there were."""
        clients = [asyncio.create_task(self.ask(keep=bool(at % 2))) for at in range(8)]
        everything, done = asyncio.gather(*clients), 0
        while not everything.done():
            await asyncio.sleep(1)
            if command:
                for pid in children(supervisor):
                    os.kill(pid, signal.SIGHUP)
                await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
            else:
                os.kill(supervisor, signal.SIGHUP)
                await asyncio.sleep(0.2)
                os.kill(supervisor, signal.SIGUSR2)
                while log().count("workers were restarted") == done:
                    await asyncio.sleep(0.1)
            done += 1
        await everything
        return done


def log() -> str:
    return Path("log").read_text()


def children(pid: int) -> list[int]:
    """The processes that a supervisor has at the moment."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    return [int(line) for line in found.stdout.split()]


def measure(way: str, backend: int, requests: int) -> str:
    Path("gateway.yaml").write_text(CONFIG.format(port=backend))
    made = subprocess.run([*RUNG, "keys", "new", "--tenant", "acme"], capture_output=True, text=True, check=True)
    command = ["serve", "--config", "gateway.yaml", "--port", "0", "--workers", "2"]
    if way == "up":
        Path("services.yaml").write_text(SERVICES.format(port=0))
        command = ["up", "services.yaml"]
    with Path("log").open("wb") as file:
        process = subprocess.Popen([*RUNG, *command], stdout=file, stderr=file)
    try:
        ready = "gateway is ready" if way == "up" else "workers are ready"
        while ready not in log():
            if process.poll() is not None:
                raise SystemExit(log())
            time.sleep(0.1)
        port = re.search(r"http://127\.0\.0\.1:(\d+)", log())
        assert port is not None
        counting = Counting(Client(int(port[1]), made.stdout.strip(), False), requests)
        again = [*RUNG, "up", "services.yaml", "--restart", "gateway"] if way == "up" else []
        began = time.monotonic()
        restarts = asyncio.run(counting.run(process.pid, again))
        return (
            f"{way}: {counting.answered:,} answered, {len(counting.faults)} failed over {restarts} restarts of both processes, "
            f"{time.monotonic() - began:.0f} s {counting.faults[:5] or ''}"
        )
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--ways", default="signal,up")
    given = parser.parse_args()
    backend, port, _ = start(sys.executable, "-c", BACKEND)
    try:
        for way in given.ways.split(","):
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                print(measure(way, port, given.requests), flush=True)
                os.chdir("/")
    finally:
        backend.terminate()


if __name__ == "__main__":
    main()
