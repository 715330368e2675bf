"""Kill the journal at random points and count what is lost: ``python bench/crash.py [--kills 25] [--url URL] [--seed N]``.

A child process records answers from 50 concurrent callers and prints a row's key once its ``record`` has returned. It is
killed with SIGKILL at a random moment: while it opens or migrates the store, while it writes, right after an
acknowledgement. Then the store is opened again, every printed key must be there, every payload in it must be exactly the one
its key stands for, and SQLite's own integrity check must pass. Exit status 1 when anything is lost or torn.

A killed process does not take the disk's cache with it: this shows that nothing is acknowledged before it is committed and
that no crash leaves half a row, not what a power cut does (synchronous=FULL is there for that).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rung.store import Entry, open_store


def payload(program: str, example: str) -> str:
    """The one payload of a key: 100 bytes to 40 kB, so that rows span pages."""
    seed = hashlib.sha256(f"{program}/{example}".encode()).hexdigest()
    return json.dumps({"text": seed * (1 + int(seed[:4], 16) % 640)})


def write(url: str, program: str) -> None:
    """The child: record without end, print each key when it is durable."""

    async def main() -> None:
        with open_store(url) as store:
            store.runs.start("crash", "hash", "{}")

            async def caller(number: int) -> None:
                count = 0
                while True:
                    examples = [f"{number}-{count + i}" for i in range(1 + number % 3)]
                    await store.answers.record([Entry(program, e, payload(program, e), 0, "run") for e in examples])
                    count += len(examples)
                    for example in examples:
                        sys.stdout.write(f"{example}\n")
                    sys.stdout.flush()

            await asyncio.gather(*(caller(number) for number in range(50)))

    asyncio.run(main())


def kill_once(url: str, program: str, chance: random.Random, early: bool) -> set[str]:
    """Run a child, kill it at a random point (``early``: maybe while it starts), return the keys it had acknowledged."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--write", program, "--url", url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    seen = b""
    end = time.monotonic() + (chance.uniform(0.2, 1.2) if early else 60)
    while (left := end - time.monotonic()) > 0:
        if select.select([child.stdout], [], [], left)[0]:
            piece = os.read(child.stdout.fileno(), 65536)
            if not piece:
                break
            if not seen and not early:
                end = time.monotonic() + chance.uniform(0.0, 0.4)
            seen += piece
    child.send_signal(signal.SIGKILL)
    seen += child.stdout.read()
    child.stdout.close()
    if child.wait() != -signal.SIGKILL:
        sys.exit(f"the child ended by itself with status {child.returncode}")
    return {line.decode() for line in seen.split(b"\n")[:-1]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--url", default="", help="an empty store (default: SQLite in a temporary folder)")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--write", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.url, options.write)
    seed = random.randrange(10**6) if options.seed is None else options.seed
    chance = random.Random(seed)
    acked: dict[str, set[str]] = {}
    torn = kept = lost = mute = 0
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{Path(folder) / 'crash.db'}"
        for kill in range(options.kills):
            program = f"{seed}-{kill}"
            early = kill > 0 and chance.random() < 0.2  # never the first: of nothing acknowledged, nothing can be lost
            acked[program] = kill_once(url, program, chance, early)
            mute += not acked[program]
            with open_store(url) as store:
                for name, examples in acked.items():
                    found = store.answers.recall(name, sorted(examples))
                    lost += len(examples - set(found))
                    torn += sum(text != payload(name, example) for example, text in found.items())
                if any(run.status == "running" for run in store.runs.newest()):
                    sys.exit("a killed run reads as running")
        if url.startswith("sqlite"):
            link = sqlite3.connect(url.removeprefix("sqlite:///"))
            rows = link.execute("select program, example, payload from answers").fetchall()
            kept = len(rows)
            torn += sum(text != payload(program, example) for program, example, text in rows)
            verdict = link.execute("pragma integrity_check").fetchone()[0]
            link.close()
        else:
            verdict = "ok"
    total = sum(map(len, acked.values()))
    print(
        f"seed {seed}: {options.kills} kills ({mute} before the first acknowledgement), {total:,} rows acknowledged, "
        f"{kept:,} in the store, {lost} lost, {torn} torn, integrity {verdict}"
    )
    return int(lost > 0 or torn > 0 or verdict != "ok")


if __name__ == "__main__":
    sys.exit(main())
