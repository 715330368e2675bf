"""What the ladder costs around a model that answers at once: 10,000 examples, journalled and scored.

    python bench/ladder.py [--examples 10000] [--rounds 3]

Prints wall and CPU milliseconds an example, beside the bare program (no journal, no scoring) in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from rung.core.types import Example, ResponseFormat, Sampling
from rung.ladder.measure.evaluate import Evaluator
from rung.metrics import load_metric
from rung.models import Pool
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt
from rung.store import open_store


async def once(count: int, folder: Path) -> tuple[float, float, float, float, float]:
    pool = Pool(default="fake:echo")
    labels = ("refund", "parcel", "login")
    options = Options(ResponseFormat("labels", labels=labels), ("text",), Sampling(max_tokens=8))
    program = PromptProgram(Prompt("Say the intent.", format="Answer with one label."), pool.model(), options)
    examples = [Example(str(i), {"text": f"message {i} about my {labels[i % 3]}"}, labels[i % 3]) for i in range(count)]
    started, cpu = time.perf_counter(), time.process_time()
    for example in examples:
        await program(example.input)
    bare, bare_cpu = time.perf_counter() - started, time.process_time() - cpu
    with open_store(f"sqlite:///{folder / 'rung.db'}") as store:
        run = store.runs.start("bench", "hash", "{}")
        evaluator = Evaluator(store, run, [load_metric("accuracy", pool), load_metric("macro-f1", pool)])
        started, cpu = time.perf_counter(), time.process_time()
        results = await evaluator(program, examples)
        whole, whole_cpu = time.perf_counter() - started, time.process_time() - cpu
        started = time.perf_counter()
        again = await evaluator(program, examples)
        reread = time.perf_counter() - started
    assert len(results) == len(again) == count
    assert all(result.reused for result in again)
    return bare, bare_cpu, whole, whole_cpu, reread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rounds = []
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(asyncio.run(once(given.examples, Path(folder))))
    each = [1000 * median(column) / given.examples for column in zip(*rounds, strict=True)]
    bare, bare_cpu, whole, whole_cpu, reread = each
    print(
        f"{given.examples} examples, median of {given.rounds}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    print(f"{'':32} {'wall ms':>8} {'CPU ms':>8}   an example")
    print(f"{'bare program (instant model)':32} {bare:8.3f} {bare_cpu:8.3f}")
    print(f"{'through the ladder, journalled':32} {whole:8.3f} {whole_cpu:8.3f}")
    print(f"{'overhead':32} {whole - bare:8.3f} {whole_cpu - bare_cpu:8.3f}")
    print(f"{'again, from the journal':32} {reread:8.3f}")


if __name__ == "__main__":
    main()
