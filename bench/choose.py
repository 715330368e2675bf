"""Choosing demonstrations: milliseconds a query over a pool of 10,000 examples, the query's own vector included.

Pool and queries are banking77's (train.csv.gz, test.csv); each way answers all queries in turn, nine times round, so that load falls on all
alike and each has the cache to itself as in use.
``round`` is the median of the quickest round, the one that other work on the machine disturbed least. With ``exclude`` the near-duplicates of the
query are looked for too; every tenth query is then a copy of a pool example with another ending, so that there are some.

    RUNG_DATA=FOLDER python bench/choose.py [--pool 10000] [--queries 100]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

from rung.core.settings import Settings
from rung.core.types import Example
from rung.models import Pool
from rung.prompts.select import Kind, Selector

ROUNDS = 9


def read(path: Path) -> list[Example]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as stream:
        return [
            Example(str(at), {"text": row["text"]}, row["category"]) for at, row in enumerate(csv.DictReader(stream))
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("RUNG_DATA"))
    parser.add_argument("--pool", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=100)
    given = parser.parse_args()
    if given.data is None:
        sys.exit("name the folder of the data: RUNG_DATA=FOLDER, or --data FOLDER")
    pool = read(given.data / "banking77" / "train.csv.gz")[: given.pool]
    queries = [example.input["text"] for example in read(given.data / "banking77" / "test.csv")[: given.queries]]
    queries[::10] = [f"{example.input['text']}!" for example in pool[:: len(pool) // len(queries[::10])]][
        : len(queries[::10])
    ]
    static = Pool(Settings()).embedder("static")
    ways: dict[str, Selector] = {}
    for kind, embedder, exclude in (
        ("knn", None, 0.0), ("knn", None, 0.8), ("knn", static, 0.0), ("knn", static, 0.8),
        ("mmr", None, 0.8), ("mmr", static, 0.8), ("coverage", None, 0.8),
    ):  # fmt: skip
        chosen: Kind = kind  # type: ignore[assignment]
        started = time.perf_counter()
        title = f"{kind:<9} {'static' if embedder else 'TF-IDF'} {'exclude 0.8' if exclude else '-':<11}"
        ways[title] = Selector(chosen, 5, pool, embedder=embedder, exclude=exclude)
        print(f"# {title} built in {time.perf_counter() - started:.1f} s", file=sys.stderr)
    wall: dict[str, list[float]] = {title: [] for title in ways}
    twins = dict.fromkeys(ways, 0)
    load = os.getloadavg()[0]
    for turn in range(ROUNDS):
        for title, select in ways.items():
            for query in queries:
                clock = time.perf_counter()
                shown = select(query)
                wall[title].append(time.perf_counter() - clock)
                assert len(shown) == 5
                twins[title] += not turn and any(f"{example.input['text']}!" == query for example in shown)
    print(f"5 of {len(pool):,} examples, {len(queries)} queries; ms a query; {os.cpu_count()} cores, Python "
          f"{platform.python_version()}, numpy {version('numpy')}, scipy {version('scipy')}, load {load:.1f}")  # fmt: skip
    print(f"{'':<30} {'median':>7} {'p95':>7} {'round':>7}  queries shown their twin")
    for title in ways:
        n = len(queries)
        best = min(statistics.median(wall[title][at : at + n]) for at in range(0, n * ROUNDS, n))
        mid, high = statistics.median(wall[title]), sorted(wall[title])[int(0.95 * len(wall[title]))]
        print(f"{title:<30} {mid * 1e3:7.3f} {high * 1e3:7.3f} {best * 1e3:7.3f}  {twins[title]}")


if __name__ == "__main__":
    main()
