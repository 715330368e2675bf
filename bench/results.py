"""Runs of a store as Markdown tables for docs/results: the newest run of each task.

python bench/results.py sqlite:///.rung/rung.db [TASK ...]

With --data FILE the runs are kept in FILE too (src/rung/ladder/measured.json, which the catalogue shows): a run replaces the
one of the same task and the same test examples.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from rung.core.codec import encode
from rung.ladder.history import read_runs
from rung.ladder.records import RunRecord
from rung.ladder.view.numbers import count, difference, money, note, quality, seconds
from rung.store import open_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    with open_store(given.store) as store:
        newest: dict[str, RunRecord] = {}
        for run in read_runs(store, 200):
            if run.recommendation is not None and (not given.tasks or run.task in given.tasks):
                newest.setdefault(run.task, run)
    if given.data is not None:
        keep(given.data, list(newest.values()))
    for task, run in newest.items():
        names = run.metrics[:2]
        counts = ", ".join(f"{n:,} {split}" for split, n in run.counts.items())
        print(f"\n### {task}\n\n{counts}; rungs: `{' '.join(record.title for record in run.rungs)}`\n")
        head = [
            "rung",
            *(f"{name} [95%]" for name in names),
            "to zero-shot",
            "n",
            "tokens",
            "$/1,000",
            "p50",
            "fit",
            "",
        ]
        print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
        for record in run.rungs:
            if record.online is None:
                print(f"| {record.title} | {note(record)} |{' |' * (len(head) - 2)}")
                continue
            chosen = run.recommendation is not None and run.recommendation.rung == record.title
            row = [
                f"**{record.title}**" if chosen else record.title,
                *(quality(record.metrics.get(name)) for name in names),
                difference(record.baseline),
                str(record.n),
                count(record.online.tokens),
                money(record.online.cost * 1000),
                seconds(record.online.p50),
                seconds(record.offline.seconds),
                note(record),
            ]
            print(f"| {' | '.join(row)} |")
        if run.recommendation is not None:
            print()
            for sentence in run.recommendation.why:
                print(f"- {sentence}")


def keep(file: Path, runs: list[RunRecord]) -> None:
    """Merge runs into the file, without the places of this machine."""
    known = {(run["task"], run["task_hash"]): run for run in (json.loads(file.read_text()) if file.exists() else ())}
    for run in runs:
        rungs = tuple(replace(rung, folder="", program="", about="") for rung in run.rungs)
        known[run.task, run.task_hash] = encode(replace(run, rungs=rungs, task_path="", recommendation=None))
    rows = [known[key] for key in sorted(known)]
    file.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
