"""What must hold of a gateway however long it runs and whatever goes wrong: memory, kept answers, faults, deadlines, balance.

    python bench/steady.py soak --seconds 120
    python bench/steady.py misses --texts FILE        # one text a line: is another one's answer ever given?
    python bench/steady.py faults --requests 2000
    python bench/steady.py balance
    python bench/steady.py batches

The gateway is ``rung serve`` in a process of its own with every feature on, its backends are bare asyncio servers in theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from gateway import BACKEND, CONFIG, Client, cpu, gateway, rss, start

FAULTY = r"""
import asyncio, json, random, sys
share, seconds, seed = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
rng, asked, turn = random.Random(seed), [0], asyncio.Lock()
def raw(status, body, kind="application/json"):
    return b"HTTP/1.1 %d X\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n" % (status, kind.encode(), len(body)) + body
def chunk(value):
    data = b"data: " + (json.dumps(value).encode() if value else b"[DONE]") + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)
def choice(**more):
    return {"choices": [{"index": 0, "finish_reason": None, **more}]}
async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            at = head.index(b"content-length:") + 15
            body = json.loads(await reader.readexactly(int(head[at:head.index(b"\r\n", at)])))
            asked[0] += 1
            text = body["messages"][-1]["content"]
            if text == "how many":
                text = str(asked[0] - 1)
            elif seconds:
                async with turn:  # it answers one after the other
                    await asyncio.sleep(seconds)
            fault = rng.choice(("error", "busy", "stall", "cut", "garbage")) if rng.random() < share else ""
            if fault == "error":
                writer.write(raw(500, b'{"error": {"message": "boom"}}'))
            elif fault == "busy":
                writer.write(raw(429, b'{"error": {"message": "slow down"}}'))
            elif fault == "garbage":
                writer.write(raw(200, b"<html>welcome</html>", "text/html"))
            elif fault == "stall":
                await asyncio.sleep(30)
            elif body.get("stream"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                for word in text.split(" "):
                    writer.write(chunk(choice(delta={"content": word + " "})))
                    await asyncio.sleep(0)
                if fault == "cut":
                    break
                writer.write(chunk(choice(delta={}) | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
                writer.write(chunk(None) + b"0\r\n\r\n")
            elif fault == "cut":
                break
            else:
                message = {"message": {"role": "assistant", "content": text}, "index": 0, "finish_reason": "stop"}
                usage = {"prompt_tokens": 5, "completion_tokens": 1}
                writer.write(raw(200, json.dumps({"choices": [message], "usage": usage}).encode()))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print("serving at http://127.0.0.1:%d/v1" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

TWO = """keys: issued
endpoints:
  a: {{{{url: "http://127.0.0.1:{a}/v1", name: m, context: 100000, price: {{{{prompt: 1, completion: 2}}}}}}}}
  b: {{{{url: "http://127.0.0.1:{b}/v1", name: n, context: 100000}}}}
routes: {{{{desk: {{{{try: [[a, b], refusal], {more}}}}}}}}}
tenants: {{{{acme: {{{{budget: 5000/day, requests: 10m/minute}}}}}}}}
"""

PATH = "/v1/chat/completions"


class Backends:
    """Two backends, and a gateway in front of them."""

    def __init__(self, stack: ExitStack, more: str, *told: Sequence[float]) -> None:
        self.processes, ports = [], []
        for share, seconds, seed in told:
            process, port, _ = start(sys.executable, "-c", FAULTY, str(share), str(seconds), str(seed))
            stack.callback(process.kill)
            self.processes.append(process)
            ports.append(port)
        self.ports = ports
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        config = TWO.format(a=ports[0], b=ports[-1], more=more)
        port, self.pid, key, _ = stack.enter_context(gateway(0, folder, config))
        self.client = Client(port, key, False)

    async def ask(self, text: str, *, stream: bool = False, port: int = 0) -> tuple[int, str, bytes, float]:
        """Status, head and body of the answer, and how many seconds it took, over a connection of its own."""
        body = json.dumps({"model": "desk", "messages": [{"role": "user", "content": text}], "temperature": 0,
                           "stream": stream}).encode()  # fmt: skip
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.client.port, limit=2**22)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        writer.write(
            f"{head}Authorization: Bearer {self.client.key}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        said = await reader.readuntil(b"\r\n\r\n")
        if port:
            size = re.search(rb"content-length: (\d+)", said)
            got = await reader.readexactly(int(size[1]) if size else 0)
        else:
            got = await reader.read()
        writer.close()
        return int(said[9:12]), said.decode("latin-1"), got, time.perf_counter() - began

    async def asked(self) -> int:
        """How often both were asked."""
        told = [await self.ask("how many", port=port) for port in self.ports]
        return sum(int(json.loads(got)["choices"][0]["message"]["content"]) for _, _, got, _ in told)


def soak(seconds: int, rounds: int) -> None:
    """Requests and streams at a steady rate, then requests as fast as it goes: what memory and open files do."""
    backend, port, _ = start(sys.executable, "-c", BACKEND)
    rows: list[tuple[int, float, int]] = []
    with tempfile.TemporaryDirectory() as folder, gateway(port, folder, CONFIG) as (mine, pid, key, _):

        def note() -> None:
            rows.append((done, rss(pid), len(os.listdir(f"/proc/{pid}/fd"))))
            print(f"{done:7,} requests, {rows[-1][1]:.1f} MB, {rows[-1][2]} open files", flush=True)

        done, ends, began = 0, time.monotonic() + seconds, cpu(pid)
        while time.monotonic() < ends:
            for stream, rate in ((False, 250.0), (True, 20.0)):
                done += len(asyncio.run(Client(mine, key, stream).paced(rate, 4)))
            note()
        for _ in range(rounds):
            done += len(asyncio.run(Client(mine, key, False).closed(8000, 16))[1])
            note()
        used = cpu(pid) - began
    backend.terminate()
    later = rows[len(rows) // 2 :]
    slope = statistics.linear_regression([row[0] for row in later], [row[1] for row in later]).slope
    print(
        f"soak: {done:,} requests, {slope * 10_000:+.2f} MB per 10,000 in the second half, "
        f"{later[-1][2] - later[0][2]:+d} open files, {used:.0f} s of CPU"
    )


def misses(file: Path, most: int) -> None:
    """Each text and a near miss of it are asked of a backend that repeats them; then some are asked again."""
    rng, texts = random.Random(0), list(dict.fromkeys(file.read_text().splitlines()))[:most]
    wrong = asked = 0
    hits: list[float] = []

    def near(text: str) -> str:
        at = rng.randrange(len(text))
        return rng.choice(
            (text[:at] + text[at + 1 :], text[:at] + "e" + text[at:], text + ".", text.swapcase(), f" {text}")
        )

    async def run() -> None:
        nonlocal wrong, asked
        gate = asyncio.Semaphore(16)

        async def one(text: str, *, again: bool = False) -> None:
            nonlocal wrong, asked
            async with gate:
                status, head, got, took = await both.ask(text)
            asked += 1
            hit = "x-rung-cache: hit" in head
            wrong += status != 200 or json.loads(got)["choices"][0]["message"]["content"] != text or (again and not hit)
            if again:
                hits.append(took)

        pairs = [(text, near(text)) for text in texts if text]
        await asyncio.gather(*(one(text) for pair in pairs for text in dict.fromkeys(pair)))
        for pair in pairs[:300]:
            await one(pair[0], again=True)

    with ExitStack() as stack:
        both = Backends(stack, "cache: 1h", (0, 0, 1), (0, 0, 2))
        asyncio.run(run())
    print(
        f"misses: {len(texts):,} texts and a near miss of each, {asked:,} asked: {wrong} wrong answers; a kept answer takes "
        f"{statistics.median(hits) * 1e3:.2f} ms with its connection (median of {len(hits)})"
    )


def faults(requests: int) -> None:
    """30 % of the answers of both backends go wrong, over TCP, half of them streams."""
    found: Counter[str] = Counter()
    seconds: list[float] = []

    async def run() -> int:
        gate = asyncio.Semaphore(16)

        async def one(at: int) -> None:
            async with gate:
                status, head, got, took = await both.ask(f"what is {at} and {at}", stream=bool(at % 2))
            seconds.append(took)
            found["5xx"] += status >= 500
            found["degraded"] += "x-rung-degraded" in head
            if status == 200 and at % 2:
                ends = b"[DONE]" in got
                found["streams told of their end by an error"] += not ends and b'"error"' in got
                found["cut without a word"] += not ends and b'"error"' not in got

        await asyncio.gather(*(one(at) for at in range(requests)))
        return await both.asked()

    with ExitStack() as stack:
        limits = "timeouts: {{first: 0.5, between: 0.5, whole: 0.5}}, breaker: {{failures: 5, seconds: 1}}"
        both = Backends(stack, limits, (0.3, 0, 1), (0.3, 0, 2))
        asked = asyncio.run(run())
    print(
        f"faults: {requests:,} requests, {asked / requests:.2f} calls a request; "
        + ", ".join(f"{n} {k}" for k, n in found.items())
    )
    with ExitStack() as stack:
        both = Backends(
            stack, "retries: 0, timeouts: {{whole: 1s}}, breaker: {{failures: 1000, seconds: 1s}}", (0, 9, 1)
        )

        async def late() -> list[float]:
            told = await asyncio.gather(*(both.ask(f"x {at}") for at in range(30)))
            assert all(status == 200 and "x-rung-degraded" in head for status, head, _, _ in told)
            return [took - 1.0 for _, _, _, took in told]

        asyncio.run(late())  # what is done once is done
        off = asyncio.run(late())
    print(f"deadline of 1 s: refused {min(off) * 1e3:+.0f} to {max(off) * 1e3:+.0f} ms from it (30 at once)")


def balance(requests: int) -> None:
    """One backend is five times slower than the other: 95 of 100 wait no longer than this. Then one is killed."""
    for way in ("round-robin", "least-busy"):
        with ExitStack() as stack:
            both = Backends(stack, f"balance: {way}", (0, 0.01, 1), (0, 0.05, 2))

            async def run(
                both: Backends = both, requests: int = requests, kill: bool = False
            ) -> tuple[list[float], int]:
                gate, failed = asyncio.Semaphore(6), 0

                async def one(at: int) -> float:
                    nonlocal failed
                    async with gate:
                        if kill and at == requests // 2:
                            both.processes[0].kill()
                        status, head, _, took = await both.ask(f"x {at} {kill}")
                        failed += status != 200 or "x-rung-degraded" in head
                        return took

                return await asyncio.gather(*(one(at) for at in range(requests))), failed

            took, _ = asyncio.run(run())
            cut = statistics.quantiles(took, n=100)
            _, failed = asyncio.run(run(requests=100, kill=True))
            print(
                f"{way}: p50 {cut[49] * 1e3:.0f} ms, p95 {cut[94] * 1e3:.0f} ms; one killed under load: {failed} of 100 failed"
            )


def batches(lines: int, kills: int) -> None:
    """A server is killed again and again while it works off a batch: is every line answered, and how many twice?"""
    import httpx

    from rung.store import open_store

    body = {"model": "desk", "messages": [{"role": "user", "content": "x"}]}
    rows = [json.dumps({"custom_id": f"c{at}", "method": "POST", "url": PATH, "body": body}) for at in range(lines)]
    with ExitStack() as stack:
        backend, there, _ = start(sys.executable, "-c", FAULTY, "0", "0", "1")
        stack.callback(backend.kill)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        endpoint = f'{{url: "http://127.0.0.1:{there}/v1", name: m}}'
        Path(folder, "gateway.yaml").write_text(f"endpoints: {{a: {endpoint}}}\nroutes: {{desk: {{try: a}}}}\n")
        command = [sys.executable, "-m", "rung", "serve", "--config", "gateway.yaml", "--port"]
        process, port, _ = start(*command, "0", cwd=folder)
        http = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", timeout=60))
        file = http.post("/files", files={"file": ("in.jsonl", "\n".join(rows))}, data={"purpose": "batch"}).json()
        batch = http.post("/batches", json={"input_file_id": file["id"], "endpoint": PATH}).json()
        killed, began = 0, time.monotonic()
        with open_store(f"sqlite:///{folder}/.rung/rung.db") as store:
            while killed < kills and time.monotonic() - began < 200:
                if store.results.count(batch["id"])[0] >= lines * (killed + 1) // (kills + 1):
                    process.kill()
                    process.wait()
                    killed += 1
                    process, _, _ = start(*command, str(port), cwd=folder)
                time.sleep(0.01)
        while (now := http.get(f"/batches/{batch['id']}").json())["status"] != "completed":
            if time.monotonic() - began > 300:
                raise SystemExit(f"the batch is {now}")
            time.sleep(0.2)
        out = http.get(f"/files/{now['output_file_id']}/content").text.splitlines()
        ids = Counter(json.loads(line)["custom_id"] for line in out)
        process.terminate()
        process.wait(30)
        asked = json.loads(
            httpx.post(f"http://127.0.0.1:{there}/v1{PATH[3:]}", json={"messages": [{"content": "how many"}]}).text
        )
        twice = int(asked["choices"][0]["message"]["content"]) - lines
    print(
        f"batches: {lines:,} lines, {killed} kills: {len(ids):,} answered, {sum(ids.values()) - len(ids)} ids twice in the "
        f"output, {twice} lines asked twice, {time.monotonic() - began:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["soak", "misses", "faults", "balance", "batches"])
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--requests", type=int, default=2000)
    given = parser.parse_args()
    print(subprocess.run([sys.executable, "--version"], capture_output=True, text=True, check=True).stdout.strip())
    if given.what == "soak":
        soak(given.seconds, given.rounds)
    elif given.what == "misses":
        misses(given.texts, 10_000)
    elif given.what == "faults":
        faults(given.requests)
    elif given.what == "batches":
        batches(10_000, 20)
    else:
        balance(400)


if __name__ == "__main__":
    main()
