"""Closed-label classification: label scoring against its floor (a bare prefill of the same tokens) and against
openvino-genai with a regular expression.

    python bench/labels.py --data PATH/TO/banking77

``--data`` holds train.csv.gz, test.csv (columns text, category) and categories.json. Each prompt shows the 5 nearest training
examples (TF-IDF); the prompts have no common prefix beyond the chat template. Every round takes other test items, so that
nobody is helped by a cache of earlier rounds; within a round everybody gets the same token ids. On a busy machine the CPU
seconds say more than the wall clock: both are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import io
import json
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rung.core.settings import Settings
from rung.core.system.machine import machine
from rung.core.types import Message, Request, Sampling, ScoreRequest
from rung.models import hub
from rung.models.engine.openvino.engine import Engine, choose_precision
from rung.models.engine.openvino.model import OpenvinoModel


def read(path: Path) -> list[tuple[str, str]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [(row["text"], row["category"]) for row in csv.DictReader(io.StringIO(data.decode(), newline=""))]


def prompts(folder: Path, count: int, k: int) -> tuple[list[tuple[Message, ...]], list[str], list[str]]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    train, test = read(folder / "train.csv.gz"), read(folder / "test.csv")
    labels = json.loads((folder / "categories.json").read_text())
    step = max(1, len(test) // count)
    items = test[::step][:count]
    vectors = TfidfVectorizer(sublinear_tf=True)
    matrix = vectors.fit_transform([text for text, _ in train])
    near = (vectors.transform([text for text, _ in items]) @ matrix.T).toarray().argsort(axis=1)[:, ::-1][:, :k]
    out = []
    for (text, _), row in zip(items, near, strict=True):
        turns = [Message("system", "Name the intent of each message to a bank.")]
        for i in row[::-1]:
            turns += [Message("user", train[i][0]), Message("assistant", train[i][1])]
        out.append((*turns, Message("user", text)))
    return out, [category for _, category in items], labels


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--model", default="smollm2-135m")
    arguments.add_argument("--prompts", type=int, default=200)
    arguments.add_argument("--shots", type=int, default=5)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--no-regex", action="store_true", help="leave out the slow constrained generation")
    given = arguments.parse_args()

    import openvino
    import openvino_genai as genai

    settings = Settings()
    threads = int(settings["threads"])
    path = hub.locate(given.model, settings.cache)
    messages, gold, labels = prompts(given.data, given.prompts * given.rounds, given.shots)
    names = labels
    precision = choose_precision(str(settings["precision"]), machine())
    ours = [OpenvinoModel(given.model, Engine(path, settings.cache, threads, precision)) for _ in range(2)]
    template = ours[0]._engine.template
    tokens = [template.tokens(m) for m in messages]
    limits = genai.SchedulerConfig()
    limits.cache_size, limits.enable_prefix_caching, limits.max_num_batched_tokens = 1, False, 2048
    properties = {"INFERENCE_NUM_THREADS": threads} if threads else {}
    ours[0]._engine.load()
    # The same graph for everybody: openvino-genai's own reading of Q4_1 rounds the weights (rung.models.engine.files.gguf.recode).
    graph = ours[0]._engine.graph().parent
    pipe = genai.ContinuousBatchingPipeline(graph, genai.Tokenizer(path), limits, "CPU", **properties)
    one, closed = genai.GenerationConfig(), genai.GenerationConfig()
    one.max_new_tokens, closed.max_new_tokens = 1, 24
    pattern = "(" + "|".join(re.escape(name).replace("\\_", "_") for name in names) + ")"
    closed.structured_output_config = genai.StructuredOutputConfig(regex=pattern)
    decoder = pipe.get_tokenizer()
    answers: dict[str, list[str]] = {"rung score": [], "genai regex": []}

    async def score(chunk: slice) -> None:
        replies = await ours[0].score([ScoreRequest(m, tuple(names)) for m in messages[chunk]])
        answers["rung score"] += [names[reply.best] for reply in replies]

    async def prefill(chunk: slice) -> None:
        await ours[1].generate([Request(m, Sampling(max_tokens=1)) for m in messages[chunk]])

    def peer(config: Any, keep: bool) -> Callable[[slice], None]:
        def run(chunk: slice) -> None:
            import numpy as np

            ids = [openvino.Tensor(np.asarray([t], np.int64)) for t in tokens[chunk]]
            results = pipe.generate(ids, [config] * len(ids))
            if keep:
                answers["genai regex"].extend(decoder.decode(r.m_generation_ids[0]) for r in results)

        return run

    runs: dict[str, Callable[[slice], Any]] = {
        "rung score": score,
        "rung prefill": prefill,
        "genai 1 token": peer(one, False),
    }
    if not given.no_regex:
        runs["genai regex"] = peer(closed, True)

    async def measure() -> dict[str, list[tuple[float, float]]]:
        warm = slice(0, 2)
        await ours[0].score([ScoreRequest((Message("user", "warm up"),), tuple(names))])
        await ours[1].generate([Request((Message("user", "warm up"),), Sampling(max_tokens=1))])
        runs["genai 1 token"](warm)
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for index in range(given.rounds):
            chunk = slice(index * given.prompts, (index + 1) * given.prompts)
            order = list(runs)
            for name in order[index % len(order) :] + order[: index % len(order)]:
                started, cpu = time.perf_counter(), time.process_time()
                result = runs[name](chunk)
                if result is not None:
                    await result
                seconds[name].append((time.perf_counter() - started, time.process_time() - cpu))
        for model in ours:
            await model.close()
            model._engine.close()
        return seconds

    seconds = asyncio.run(measure())
    per_round = sum(map(len, tokens)) / given.rounds
    print(
        f"openvino {openvino.__version__}, openvino-genai {genai.__version__}, model {given.model}, threads {threads or 'all'}"
    )
    print(
        f"{given.prompts} prompts x {len(names)} labels, {per_round:,.0f} prompt tokens a round, {given.rounds} rounds"
    )
    print(f"{'':16}{'seconds':>10}{'tokens/s':>10}{'CPU s':>10}   seconds (CPU s) of each round")
    for name, values in seconds.items():
        wall, cpu = (statistics.median(v[i] for v in values) for i in (0, 1))
        each = " ".join(f"{w:.2f} ({c:.2f})" for w, c in values)
        print(f"{name:16}{wall:10.2f}{per_round / wall:10.0f}{cpu:10.2f}   {each}")
    for i, clock in enumerate(("wall", "CPU")):
        floors = [min(a[i], b[i]) for a, b in zip(seconds["rung prefill"], seconds["genai 1 token"], strict=True)]
        ratios = [a[i] / b for a, b in zip(seconds["rung score"], floors, strict=True)]
        line = f"{clock}: score / floor (the round's faster prefill): median {statistics.median(ratios):.3f} of {[round(r, 3) for r in ratios]}"
        if "genai regex" in seconds:
            wins = [b[i] / a[i] for a, b in zip(seconds["rung score"], seconds["genai regex"], strict=True)]
            line += f"; genai regex / score: {statistics.median(wins):.2f}"
        print(line)
    print("goal: wall score / floor <= 1.2")
    for name, given_answers in answers.items():
        if given_answers:
            right = sum(a == g for a, g in zip(given_answers, gold, strict=False))
            print(f"accuracy {name}: {right / len(given_answers):.3f} (n={len(given_answers)})")


if __name__ == "__main__":
    main()
