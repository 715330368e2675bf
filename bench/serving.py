"""What the server costs around a program that answers at once: beside a bare FastAPI echo, in the same run.

    python bench/serving.py [--requests 1500] [--rounds 5]

Both are served by uvicorn in processes of their own with the same event loop and HTTP parser; the client is raw asyncio
(keep-alive, no HTTP library), so that it costs little and the same to both. Rounds alternate; medians are shown. The echo
reads the same request with FastAPI's own body model and returns the same fields.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ECHO = """
import asyncio, socket, sys, time, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
class M(BaseModel):
    role: str
    content: str
class R(BaseModel):
    model: str
    messages: list[M]
    stream: bool = False
app = FastAPI()
@app.post("/v1/chat/completions")
async def chat(r: R):
    return {"id": "x", "object": "chat.completion", "created": int(time.time()), "model": r.model, "choices": [{"index": 0,
        "message": {"role": "assistant", "content": r.messages[-1].content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(1024)
print("serving at http://127.0.0.1:%d/v1" % s.getsockname()[1], flush=True)
server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
asyncio.run(server.serve(sockets=[s])) if "uvloop" not in sys.argv else __import__("uvloop").run(server.serve(sockets=[s]))
"""

SERVE = "import typer; from rung.cli.use.serve import serve; typer.run(serve)"


def start(*command: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"serving at http://127\.0\.0\.1:(\d+)/v1", line):
            return process, int(found[1])
    raise SystemExit("the server did not start")


async def ask(port: int, body: bytes, times: int, seconds: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    for _ in range(times):
        started = time.perf_counter()
        writer.write(request)
        said = await reader.readuntil(b"\r\n\r\n")
        if not said.startswith(b"HTTP/1.1 200"):
            raise SystemExit(said.decode() + (await reader.read(300)).decode())
        if length := re.search(rb"content-length: (\d+)", said):
            await reader.readexactly(int(length[1]))
        else:
            await reader.readuntil(b"\r\n0\r\n\r\n")
        seconds.append(time.perf_counter() - started)
    writer.close()


async def load(port: int, body: bytes, requests: int, together: int) -> tuple[float, float, float]:
    """Requests a second, p50 and p99 in milliseconds."""
    seconds: list[float] = []
    started = time.perf_counter()
    await asyncio.gather(*(ask(port, body, requests // together, seconds) for _ in range(together)))
    wall = time.perf_counter() - started
    cuts = statistics.quantiles(seconds, n=100)
    return len(seconds) / wall, cuts[49] * 1e3, cuts[98] * 1e3


def has(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    from rung.core.parts import program as programs
    from rung.models import Pool
    from rung.prompts.program import Options, PromptProgram
    from rung.prompts.template.prompt import Prompt

    print(", ".join(f"{name} {has(name)}" for name in ("fastapi", "uvicorn", "httptools", "uvloop", "pydantic")))
    print(
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; {options.rounds} rounds of {options.requests}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = programs.save(
            PromptProgram(Prompt("Say it again."), Pool().model("fake:echo"), Options()), Path(temporary) / "echo"
        )
        ours, our_port = start(sys.executable, "-c", SERVE, str(folder), "--port", "0")
        store = f"sqlite:///{temporary}/rung.db"
        recording, recording_port = start(
            sys.executable, "-c", SERVE, str(folder), "--port", "0", "--record", "--store", store
        )
        loop = ("uvloop",) if has("uvloop") != "-" else ()
        bare, bare_port = start(sys.executable, "-c", ECHO, *loop)
        messages = [{"role": "user", "content": "where is my parcel"}]
        whole = json.dumps({"model": "rung/echo", "messages": messages}).encode()
        stream = json.dumps({"model": "rung/echo", "messages": messages, "stream": True}).encode()
        cases = (
            ("bare FastAPI echo", bare_port, whole),
            ("rung serve", our_port, whole),
            ("rung serve --record", recording_port, whole),
            ("rung serve, stream", our_port, stream),
            ("  stream, --record", recording_port, stream),
        )
        try:
            found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
            for _, port, body in cases:
                asyncio.run(load(port, body, 200, 8))
            for _ in range(options.rounds):
                for together in (1, 32):
                    for name, port, body in cases:
                        found.setdefault((name, together), []).append(
                            asyncio.run(load(port, body, options.requests, together))
                        )
        finally:
            ours.terminate()
            recording.terminate()
            bare.terminate()
    print(f"{'':22}{'c':>4}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'of bare':>9}")
    for (name, together), rounds in sorted(found.items(), key=lambda item: item[0][1]):
        rate, p50, p99 = (statistics.median(column) for column in zip(*rounds, strict=True))
        # Each round's own ratio: the machine's load is then the same on both sides.
        ratio = statistics.median(
            mine[0] / theirs[0] for mine, theirs in zip(rounds, found["bare FastAPI echo", together], strict=True)
        )
        print(f"{name:22}{together:>4}{rate:>12,.0f}{p50:>9.2f}{p99:>9.2f}{ratio:>9.2f}")


if __name__ == "__main__":
    main()
