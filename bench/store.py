"""What journalling costs: ``python bench/store.py [--rounds 7] [--answers 10000] [--bytes 1000] [--postgres URL]``.

Alternating rounds in one process; medians. All of them end with every row durable (WAL, synchronous=FULL):

- floor: bare ``sqlite3``, the same table, all rows by one ``executemany`` in one transaction
- floor/64: the same, a transaction for every 64 rows
- tasks: that many asyncio tasks which do nothing (what the event loop itself costs; nothing is stored)
- record: that many tasks, each awaiting its own ``Store.record([row])``
- record/64: 64 workers, each awaiting one ``record`` after another (how a climb at the default concurrency calls it)

Per-answer overhead is (record - tasks) / answers: what journalling adds to an answer that is awaited anyway.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import sqlalchemy

from rung.store import Entry, Store, open_store

DDL = """create table answers(id integer primary key, program text not null, example text not null, repeat int not null,
payload text not null, run text not null, created float not null, unique(program, example, repeat))"""
INSERT = "insert into answers(program,example,payload,repeat,run,created) values(?,?,?,?,?,?) on conflict do nothing"


def entries(name: str, count: int, size: int) -> list[Entry]:
    program = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    payload = '{"answer":{"output":"x","raw":"' + "lorem ipsum " * (size // 12) + '"}}'
    return [
        Entry(program, hashlib.blake2b(f"{name}/{i}".encode(), digest_size=16).hexdigest(), payload, 0, "run")
        for i in range(count)
    ]


def floor(folder: Path, rows: list[Entry], size: int) -> float:
    link = sqlite3.connect(folder / "floor.db", isolation_level=None)
    for statement in ("pragma journal_mode=wal", "pragma synchronous=full", "drop table if exists answers", DDL):
        link.execute(statement)
    begun = time.perf_counter()
    for start in range(0, len(rows), size):
        link.execute("begin immediate")
        link.executemany(INSERT, [(*row, 1.0) for row in rows[start : start + size]])
        link.execute("commit")
    took = time.perf_counter() - begun
    link.close()
    return took


def tasks(count: int) -> float:
    async def nothing() -> None:
        await asyncio.sleep(0)

    async def main() -> float:
        begun = time.perf_counter()
        await asyncio.gather(*(nothing() for _ in range(count)))
        return time.perf_counter() - begun

    return asyncio.run(main())


def record(store: Store, rows: list[Entry]) -> float:
    async def main() -> float:
        begun = time.perf_counter()
        await asyncio.gather(*(store.answers.record([row]) for row in rows))
        return time.perf_counter() - begun

    return asyncio.run(main())


def workers(store: Store, rows: list[Entry], width: int) -> float:
    async def main() -> float:
        todo = iter(rows)

        async def worker() -> None:
            for row in todo:
                await store.answers.record([row])

        begun = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(width)))
        return time.perf_counter() - begun

    return asyncio.run(main())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=1000)
    parser.add_argument("--postgres", default="", help="also measure record against this URL (an empty database)")
    options = parser.parse_args()
    count = options.answers
    print(
        f"python {platform.python_version()}, sqlite {sqlite3.sqlite_version}, sqlalchemy {sqlalchemy.__version__}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {count:,} answers of about {options.bytes} bytes, "
        f"{options.rounds} rounds"
    )
    times: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = {"": open_store(f"sqlite:///{folder / 'rung.db'}")}
        if options.postgres:
            stores[" (postgres)"] = open_store(options.postgres)
        for turn in range(options.rounds):
            plain = entries(f"floor{turn}", count, options.bytes)
            jobs: dict[str, Callable[[], float]] = {
                "floor": partial(floor, folder, plain, count),
                "floor/64": partial(floor, folder, plain, 64),
                "tasks": partial(tasks, count),
            }
            for kind, store in stores.items():
                one = entries(f"one{turn}{time.time()}", count, options.bytes)
                two = entries(f"two{turn}{time.time()}", count, options.bytes)
                jobs["record" + kind] = partial(record, store, one)
                jobs["record/64" + kind] = partial(workers, store, two, 64)
            order = list(jobs) if turn % 2 else list(jobs)[::-1]
            for job in order:
                before = time.process_time()
                times.setdefault(job, []).append(jobs[job]())
                cpu.setdefault(job, []).append(time.process_time() - before)
        for store in stores.values():
            store.close()
    base = statistics.median(times["tasks"])
    print(f"{'':<22}{'answers/s':>12}{'ms/answer':>12}{'overhead ms':>13}{'x floor':>9}{'cpu ms':>9}")
    for job in jobs:
        median = statistics.median(times[job])
        over = "" if job == "tasks" or job.startswith("floor") else f"{(median - base) / count * 1000:.4f}"
        reference = statistics.median(times["floor/64" if "/64" in job else "floor"])
        ratio = "" if job == "tasks" else f"{median / reference:.2f}"
        spent = statistics.median(cpu[job]) / count * 1000
        print(f"{job:<22}{count / median:>12,.0f}{median / count * 1000:>12.4f}{over:>13}{ratio:>9}{spent:>9.4f}")


if __name__ == "__main__":
    main()
