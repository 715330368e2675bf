"""What the gateway costs in front of a server that answers at once, with every feature on: issued keys, budgets, routes, metrics.

    python bench/gateway.py [--requests 4000] [--rounds 3] [--features | --workers]

The backend is a bare asyncio server in a process of its own, asked directly and through the gateway in alternating rounds by the same
raw client; requests differ, so that the cache is looked up and never hit. One worker. CPU seconds are the gateway process's own.
``--features`` starts a gateway for each feature, with it and without, and prints CPU microseconds a request: on a shared machine those
are what can be compared. ``--workers`` compares two processes with one in front of a backend that takes 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

BACKEND = r"""
import asyncio, json
whole = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message":
    {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5, "completion_tokens": 1,
    "total_tokens": 6}}).encode()
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(whole) + whole
def chunk(value):
    data = b"data: " + (json.dumps(value).encode() if value else b"[DONE]") + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)
piece = chunk({"id": "x", "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]})
end = chunk({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
end += chunk({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 100, "total_tokens": 105}}) + chunk(None) + b"0\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            low = head.lower(); at = low.index(b"content-length:") + 15
            body = await reader.readexactly(int(low[at:low.index(b"\r\n", at)]))
            if b'"stream":true' in body or b'"stream": true' in body:
                writer.write(HEAD)
                for _ in range(10):
                    writer.write(piece * 10)
                    await asyncio.sleep(0)
                writer.write(end)
            else:
                writer.write(WHOLE)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print("serving at http://127.0.0.1:%d/v1" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
try:
    import uvloop; uvloop.run(main())
except ImportError:
    asyncio.run(main())
"""

CONFIG = """keys: issued
endpoints:
  a: {{url: "http://127.0.0.1:{port}/v1", name: m, context: 100000, price: {{prompt: 1, completion: 2}}}}
  b: {{url: "http://127.0.0.1:{port}/v1", name: n, context: 100000}}
routes: {{desk: {{try: [[a, b], refusal], cache: 1h}}}}
tenants: {{acme: {{budget: 5000/day, requests: 10m/minute}}}}
"""


COUNT = itertools.count()
"""Numbers the requests of all clients (an object's id comes again, and then a kept answer is measured)."""

CACHE, KEYS, BUDGET = ", cache: 1h", "keys: issued\n", CONFIG[CONFIG.index("tenants:") :]
PRICE = ", price: {{prompt: 1, completion: 2}}"
FEATURES = {
    "all": (CONFIG, []),
    "without the cache": (CONFIG.replace(CACHE, ""), []),
    "without budgets": (CONFIG.replace(BUDGET, "").replace(PRICE, ""), []),
    "without keys and budgets": (CONFIG.replace(BUDGET, "").replace(PRICE, "").replace(KEYS, ""), []),
    "without metrics": (CONFIG, ["--no-metrics"]),
    "with recording": (CONFIG, ["--record"]),
    "with spans": (CONFIG, ["--otlp", "http://127.0.0.1:{port}"]),
}


def start(*command: str, cwd: str = ".") -> tuple[subprocess.Popen[str], int, float]:
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=cwd)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"serving at http://127\.0\.0\.1:(\d+)/v1", line):
            return process, int(found[1]), time.perf_counter() - began
    raise SystemExit("the server did not start")


class Client:
    """Raw keep-alive connections; no two requests are the same."""

    def __init__(self, port: int, key: str, stream: bool) -> None:
        self.port, self.key, self.stream = port, key, stream

    def request(self) -> bytes:
        messages = [{"role": "user", "content": f"where is parcel {os.getpid()}-{next(COUNT)}"}]
        body = json.dumps({"model": "desk", "messages": messages, "temperature": 0, "stream": self.stream}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.key}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        started = time.perf_counter()
        writer.write(self.request())
        said = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in said[:20]:
            raise SystemExit(said.decode())
        if length := re.search(rb"content-length: (\d+)", said):
            await reader.readexactly(int(length[1]))
        else:
            await reader.readuntil(b"\r\n0\r\n\r\n")
        return time.perf_counter() - started

    async def closed(self, requests: int, together: int) -> tuple[float, list[float]]:
        """Requests a second with ``together`` in flight."""
        seconds: list[float] = []

        async def one() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
            seconds.extend([await self.ask(reader, writer) for _ in range(requests // together)])
            writer.close()

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(together)))
        return len(seconds) / (time.perf_counter() - began), seconds

    async def paced(self, rate: float, seconds: float) -> list[float]:
        """Waits at a steady rate, whatever comes back."""
        pool = [await asyncio.open_connection("127.0.0.1", self.port) for _ in range(32)]
        found: list[float] = []

        async def one() -> None:
            link = pool.pop() if pool else await asyncio.open_connection("127.0.0.1", self.port)
            found.append(await self.ask(*link))
            pool.append(link)

        began, tasks = time.perf_counter(), []
        for at in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + at / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(one()))
        await asyncio.gather(*tasks)
        return found


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024  # type: ignore[index]


@contextmanager
def gateway(
    port: int, folder: str, config: str = CONFIG, options: Sequence[str] = ()
) -> Iterator[tuple[int, int, str, float]]:
    """Port, process id, an API key, and the seconds until it was ready."""
    Path(folder, "gateway.yaml").write_text(config.format(port=port))
    rung = [sys.executable, "-m", "rung"]
    made = subprocess.run(
        [*rung, "keys", "new", "--tenant", "acme"], cwd=folder, capture_output=True, text=True, check=True
    )
    given = [one.format(port=port) for one in options]
    process, mine, ready = start(*rung, "serve", "--config", "gateway.yaml", "--port", "0", *given, cwd=folder)
    try:
        yield mine, process.pid, made.stdout.strip(), ready
    finally:
        process.terminate()
        process.wait(20)


def features(port: int, requests: int) -> None:
    """CPU microseconds a request and a stream, by feature."""
    for name, (config, options) in FEATURES.items():
        with tempfile.TemporaryDirectory() as folder, gateway(port, folder, config, options) as (mine, pid, key, _):
            asyncio.run(Client(mine, key, False).closed(200, 8))
            found = []
            for stream, count in ((False, requests // 16 * 16), (True, requests // 128 * 16)):
                before = cpu(pid)
                asyncio.run(Client(mine, key, stream).closed(count, 16))
                found.append((cpu(pid) - before) / count * 1e6)
            print(f"{name:<28} {found[0]:6.0f} us a request {found[1]:6.0f} us a stream {rss(pid):5.0f} MB", flush=True)


def added(port: int, mine: int, key: str) -> None:
    """What the gateway adds at 500 requests a second: three turns of 4 s without it (what the client and the backend take
    themselves) and with it, the median of each percentile."""
    rounds: dict[int, list[list[float]]] = {port: [], mine: []}
    for _ in range(3):
        for place, found in rounds.items():
            found.append(statistics.quantiles(asyncio.run(Client(place, key, False).paced(500, 4)), n=100))
    for percent in (50, 90, 99):
        alone, through = (statistics.median(cuts[percent - 1] * 1e3 for cuts in found) for found in rounds.values())
        said = f"{through:.2f} ms through the gateway, {alone:.2f} ms without"
        print(f"at 500/s p{percent}: {through - alone:.2f} ms added ({said})", flush=True)


SLOW = BACKEND.replace(
    "                writer.write(WHOLE)", "                await asyncio.sleep(0.05); writer.write(WHOLE)"
)
"""A backend that takes 50 ms."""


def workers(requests: int) -> None:
    """One process and two in front of a backend that takes 50 ms, by callers in flight: with 16 places at work each, so
    that places are what there is too little of, and with as many as anybody wants, where processors are. The client and
    the backend need processors, too: of two of them two workers get less than two."""
    backend, port, _ = start(sys.executable, "-c", SLOW)
    print(f"{os.cpu_count()} processors; the backend waits 50 ms")
    for places in (16, 1000):
        best: dict[int, float] = {}
        for count in (1, 2):
            config = CONFIG + f"limits: {{{{running: {places}, waiting: 1000}}}}\n"
            given = ["--workers", str(count)]
            with tempfile.TemporaryDirectory() as folder, gateway(port, folder, config, given) as (mine, _, key, _):
                time.sleep(3)  # each worker opens what it needs
                asyncio.run(Client(mine, key, False).closed(512, 64))
                for together in (16, 64, 128):
                    rate, found = asyncio.run(Client(mine, key, False).closed(max(requests, together * 8), together))
                    best[count] = max(best.get(count, 0.0), rate)
                    said = f"{rate:,.0f}/s, p95 {statistics.quantiles(found, n=20)[18] * 1e3:.0f} ms"
                    print(f"{places} places each, {count} workers, {together} in flight: {said}", flush=True)
        print(f"{places} places each: 2 workers give {best[2] / best[1]:.2f}x of one")
    backend.terminate()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--features", action="store_true")
    parser.add_argument("--workers", action="store_true", help="two processes beside one")
    options = parser.parse_args()
    print(", ".join(f"{name} {version(name)}" for name in ("uvicorn", "httptools", "uvloop", "orjson", "pydantic")))
    if options.workers:
        workers(options.requests)
        return
    with tempfile.TemporaryDirectory() as folder:
        backend, port, _ = start(sys.executable, "-c", BACKEND)
        if options.features:
            features(port, options.requests)
            backend.terminate()
            return
        with gateway(port, folder) as (mine, pid, key, ready):
            asyncio.run(Client(mine, key, False).closed(500, 8))
            for stream, requests in ((False, options.requests), (True, options.requests // 8)):
                rates: dict[str, list[float]] = {"backend": [], "gateway": []}
                used = 0.0
                for _ in range(options.rounds):
                    for name, place in (("backend", port), ("gateway", mine)):
                        before = cpu(pid)
                        rate, _ = asyncio.run(Client(place, key, stream).closed(requests, 16))
                        rates[name].append(rate)
                        used += (cpu(pid) - before) if name == "gateway" else 0.0
                each = used / (requests // 16 * 16 * options.rounds)
                what = "streams of 100 pieces" if stream else "requests"
                print(
                    f"{what}: {statistics.median(rates['gateway']):,.0f}/s through the gateway (backend alone "
                    f"{statistics.median(rates['backend']):,.0f}/s), {each * 1e6:.0f} us of CPU each, so {1 / each:,.0f}/s a core"
                )
            added(port, mine, key)
            print(f"ready in {ready:.1f} s, {rss(pid):.0f} MB")
        backend.terminate()


if __name__ == "__main__":
    main()
