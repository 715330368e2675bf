"""Does the lint score tell anything? 26 ways to write one prompt of the pack support-intent: score against accuracy on dev.

Spearman's rank correlation with the 95 % interval of a bootstrap over the variants (10,000 draws). The answers go through the
journal of the store, so that a second run asks nothing again.

    python bench/lint.py [--model openvino:smollm2-135m] [--limit 60]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np

from rung import tasks
from rung.core.settings import Settings
from rung.core.types import Example, Task
from rung.ladder.measure.evaluate import Evaluator
from rung.metrics import load_metric
from rung.models import Pool
from rung.prompts.lint.lint import lint_prompt
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt, describe
from rung.store import open_store


def variants(task: Task) -> dict[str, Prompt]:
    """Prompts that a hurried and a careful author might write for the same task."""
    good = Prompt.of(task)
    names = replace(good, format=describe(task.form))
    bare = "Say which one intent the message has."
    shown: list[Example] = []
    for label in task.form.labels:  # one example of each of the first six labels
        if len(shown) < 6:
            shown.append(next(example for example in task.train if example.reference == label))
    wrong = [replace(item, reference=shown[at - 1].reference) for at, item in enumerate(shown)]
    odd = [replace(item, reference=str(item.reference).replace("_", " ").title()) for item in shown]
    return {
        "zero-shot": good,
        "zero-shot, names only": names,
        "with constraints": replace(good, constraints=task.constraints),
        "with a noun persona": replace(good, persona="an experienced agent of an online shop"),
        "with the pack's persona": replace(good, persona=task.persona),
        "with examples": good.replace("examples", shown),
        "names and examples": names.replace("examples", shown),
        "constraints and examples": replace(good, constraints=task.constraints).replace("examples", shown),
        "bare": replace(names, instruction=bare),
        "bare with notes": replace(good, instruction=bare),
        "no form": replace(good, format=""),
        "bare, no form": Prompt(bare),
        "vague": replace(names, instruction="Tell me something about the message."),
        "vague, no form": Prompt("Tell me about the message."),
        "handle it": replace(names, instruction="Handle the message properly."),
        "handle it, no form": Prompt("Deal with this properly if possible."),
        "pointing": replace(names, instruction="Sort this."),
        "pointing, no form": Prompt("Sort it as before."),
        "hedged": replace(names, instruction="Maybe try to say what sort of thing the customer kind of wants, if possible."),
        "short and long": replace(
            names, instruction=bare, constraints=("Be brief.", "Explain your choice in detail, step by step.")
        ),
        "one and all": replace(names, instruction=bare, constraints=("Name exactly one intent.", "Name all that apply.")),
        "json and bullets": replace(names, instruction=bare, constraints=("Answer with JSON.", "Use bullet points.")),
        "wrong examples": names.replace("examples", wrong),
        "examples of another form": names.replace("examples", odd),
        "strange labels": replace(names, constraints=("A lost parcel is parcel_lost.", "Money back is money_back.")),
        "nothing but the labels": replace(names, instruction=""),
    }  # fmt: skip


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, ties at their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[inverse]


def spearman(one: np.ndarray, two: np.ndarray) -> float:
    a, b = ranks(one), ranks(two)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else float("nan")


async def main(model: str, limit: int, store: str) -> None:
    settings = Settings({"model": model, "store": store})
    task = tasks.load("support-intent")
    dev = task.dev[:limit]
    pool = Pool(settings)
    rows = []
    try:
        with open_store(settings.store_url) as opened:
            evaluator = Evaluator(opened, "bench-lint", [load_metric("accuracy", pool)])
            for name, prompt in variants(task).items():
                program = PromptProgram(prompt, pool.model(model), Options.of(task))
                results = await evaluator(program, dev)
                accuracy = float(np.mean([result.scores["accuracy"].value for result in results]))
                report = lint_prompt(prompt, task.form.labels)
                rows.append((name, report.score, report.errors, accuracy))
                print(
                    f"{name:<26} lint {report.score:3d} ({report.errors} errors)  accuracy {accuracy:.3f}", flush=True
                )
    finally:
        await pool.close()
    scores, accuracies = (np.array([row[at] for row in rows], dtype=float) for at in (1, 3))
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(rows), len(rows)) for _ in range(10_000)]
    sample = np.array([spearman(scores[draw], accuracies[draw]) for draw in draws])
    low, high = np.nanpercentile(sample, [2.5, 97.5])
    load = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "?"
    print(f"\nSpearman {spearman(scores, accuracies):+.3f} [{low:+.3f}, {high:+.3f}] over {len(rows)} variants, "
          f"{len(dev)} dev examples, {model}; {os.cpu_count()} cores, Python {platform.python_version()}, load {load}")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="openvino:smollm2-135m")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--store", default="")
    given = parser.parse_args()
    asyncio.run(main(given.model, given.limit, given.store))
