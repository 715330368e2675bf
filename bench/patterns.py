"""Every prompt pattern by itself, and the best combination, on four public sets of different kind: what helps and what hurts.

banking77 (its first ten intents), sst2, gsm8k and xquad_en, cut to --train/--dev/--test examples in frozen hash order (xquad_en,
whose passages are long, to three quarters of them). Every
rung answers all test examples (nothing is stopped early), so that the differences to zero-shot are paired on the same items.
The combination is chosen on dev among COMBINATIONS. All answers go through the store's journal: a run that was killed goes
on, and a second run only prints. `hurts` and `helps`: the interval of the difference leaves out 0, and its p, corrected for
the set's comparisons (Holm), is below 0.05; `hurts?` and `helps?`: the interval does, the corrected p does not.

    RUNG_DATA=FOLDER python bench/patterns.py [--test 64] [--set gsm8k] [--model openvino:smollm2-135m]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rung import tasks
from rung.core.codec import digest
from rung.core.settings import Settings
from rung.core.types import ResponseFormat, RungChoice, Task
from rung.ladder.climb import Climber
from rung.ladder.measure.evaluate import Evaluator
from rung.ladder.prepare.observer import Silent
from rung.ladder.records import RungRecord, RunRecord, verdict
from rung.ladder.view.numbers import count, money, note, quality, seconds
from rung.metrics import load_metric
from rung.metrics.stats import Difference
from rung.models import Pool
from rung.prompts.patterns.combine import compose, read, unfit
from rung.store import open_store

SETS = ("banking77", "sst2", "gsm8k", "xquad_en")
INTENTS = 10
SINGLE = (
    RungChoice("zero-shot"),
    RungChoice("constraints"),
    RungChoice("persona"),
    RungChoice("audience"),
    RungChoice("rendering", {"dev": 32}),
    RungChoice("few-shot-random", {"ks": [4], "dev": 32}),
    RungChoice("few-shot-knn", {"ks": [4], "dev": 32}),
    RungChoice("few-shot-mmr", {"ks": [4], "dev": 32}),
    RungChoice("few-shot-coverage", {"ks": [4], "dev": 32}),
    RungChoice("few-shot-bootstrap", {"k": 4, "trials": 6, "dev": 32}),
    RungChoice("chain-of-thought"),
    RungChoice("self-consistency", {"votes": 3}),
    RungChoice("output-template", {"width": 120}),
    RungChoice("question-refinement"),
    RungChoice("cognitive-verifier"),
    RungChoice("react", {"limit": 3}),
)
COMBINATIONS = (
    "persona+constraints",
    "constraints+few-shot=knn 4",
    "persona+constraints+few-shot=knn 4",
    "constraints+few-shot=mmr 4",
    "few-shot=knn 4+chain-of-thought",
    "constraints+chain-of-thought",
    "constraints+output-template",
    "question-refinement+few-shot=knn 4",
)


def load(name: str, train: int, dev: int, test: int) -> Task:
    task = tasks.load(Path(__file__).parent / "tasks" / f"{name}.yaml")
    if name == "banking77":  # the first ten intents by name: a small model cannot choose among 77
        labels = task.form.labels[:INTENTS]
        few: dict[str, Any] = {
            split: tuple(e for e in task.split(split) if e.reference in labels) for split in ("train", "dev", "test")
        }
        task = replace(task, name="banking77-10", form=ResponseFormat("labels", labels=labels), hash=digest([task.hash, labels]),
                       **few)  # fmt: skip
    if name == "xquad_en":  # long inputs: three quarters of the examples
        dev, test = dev * 3 // 4, test * 3 // 4
    return tasks.cut(replace(task, max_tokens=min(task.max_tokens, 32)), train=train, dev=dev, test=test)


async def combination(task: Task, settings: Settings, pool: Pool) -> str:
    """The combination that does best on dev; the one with fewer tokens wins a tie."""
    metric = load_metric(task.metrics[0], pool)
    ranked = []
    with open_store(settings.store_url) as store:
        evaluator = Evaluator(store, "bench-patterns", [metric])
        for parts in COMBINATIONS:
            if why := unfit(task, read(parts), pool):
                print(f"  {parts}: {why}", file=sys.stderr)
                continue
            results = await evaluator(compose(task, parts, pool), task.dev)
            value = float(metric.reduce([result.scores[metric.name] for result in results])[0])
            ranked.append((-value, sum(result.answer.usage.tokens for result in results), parts))
            print(f"  dev {value:.3f} {parts}", file=sys.stderr, flush=True)
    return min(ranked)[2]


class Lines(Silent):
    """Says on stderr when a rung is done."""

    def rung_done(self, record: RungRecord) -> None:
        figures = ", ".join(f"{name} {quality(value)}" for name, value in record.metrics.items())
        print(f"  {record.title}: {record.status} {record.reason} {figures}", file=sys.stderr, flush=True)


async def climb(task: Task, settings: Settings) -> RunRecord:
    async with Pool(settings) as pool:
        best = await combination(task, settings, pool)
        choices = (*SINGLE, RungChoice("combined", {"parts": best.split("+")}, f"combined: {best}"))
        with open_store(settings.store_url) as store:
            return await Climber(replace(task, rungs=choices), store, pool, settings, Lines(), early=False).climb()


def effect(change: Difference | None) -> tuple[str, str]:
    """The paired difference to zero-shot with its interval, and in a word what it says."""
    if change is None:
        return "–", ""
    figures = f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
    word = {"better": "helps", "worse": "**hurts**"}.get(verdict(change), "")
    if not word and not change.none:
        word = "helps?" if change.low > 0 else "hurts?"
    return figures, word


def table(run: RunRecord) -> str:
    metric = run.metrics[0]
    counts = ", ".join(f"{n:,} {split}" for split, n in run.counts.items())
    lines = [f"\n### {run.task}: {metric}\n", f"{counts}\n"]
    lines.append(f"| pattern | {metric} [95%] | to zero-shot [95%] | | tokens | $/1,000 | p50 | fit | |")
    lines.append("|---|---|---|---|---|---|---|---|---|")
    skipped = []
    for record in run.rungs:
        if (online := record.online) is None:
            skipped.append(f"{record.title} ({note(record).removeprefix('skipped: ')})")
            continue
        figures, word = effect(record.baseline)
        cells = [record.title, quality(record.metrics[metric]), figures, word, count(online.tokens),
                 money(online.cost * 1000), seconds(online.p50), seconds(record.offline.seconds), note(record)]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    if skipped:
        lines.append(f"\nDo not fit: {'; '.join(skipped)}.")
    return "\n".join(lines)


def overview(runs: list[RunRecord]) -> str:
    """One row a pattern, one column a set: the difference to zero-shot."""
    titles = list(dict.fromkeys(record.name for run in runs for record in run.rungs))
    lines = [f"| pattern | {' | '.join(run.task for run in runs)} |", f"|---|{'---|' * len(runs)}"]
    for title in titles:
        cells = []
        for run in runs:
            record = next((r for r in run.rungs if r.name == title), None)
            if record is None or record.online is None:
                cells.append("does not fit")
            elif record.baseline is None:
                cells.append(f"{record.metrics[run.metrics[0]].value:.3f}")
            else:
                _, word = effect(record.baseline)
                cells.append(f"{record.baseline.value:+.3f} {word}".strip())
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--store", default=None)
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--dev", type=int, default=32)
    parser.add_argument("--test", type=int, default=64)
    parser.add_argument("--set", action="append", choices=SETS)
    given = parser.parse_args()
    settings = Settings({"model": given.model, "store": given.store})
    runs = []
    for name in given.set or SETS:
        print(name, file=sys.stderr, flush=True)
        runs.append(asyncio.run(climb(load(name, given.train, given.dev, given.test), settings)))
        print(table(runs[-1]), flush=True)
    print(f"\n### All sets: difference to zero-shot\n\n{overview(runs)}")
    load_now = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "?"
    print(f"\n{settings['model']}, rung {runs[0].version}, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"load {load_now} at the end")  # fmt: skip


if __name__ == "__main__":
    main()
