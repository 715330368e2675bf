"""The embedded engine in each precision that the processor computes: time, distance to transformers in float32, and whether
answers and label scores depend on the batch.

    python bench/precision.py [--replies 24] [--labels 100] [--precisions f32,bf16]

Prompts are lines of docs/. Run it on a quiet machine; CPU seconds are printed beside wall seconds, for where it is not.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from pathlib import Path

import numpy as np

from rung.core.settings import Settings
from rung.core.system.machine import machine
from rung.core.types import Message, Request, Sampling, ScoreRequest
from rung.models import hub
from rung.models.engine.openvino.model import OpenvinoModel, open_model, unstable

NAME = "smollm2-135m"
LABELS = ("card arrival", "retrieval", "training a model", "prompt", "statistics of a test")


def lines() -> list[str]:
    """Sentences of our own pages: long enough to differ, the same on every machine."""
    pages = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))
    return [line.strip("-*# ") for page in pages for line in page.read_text().splitlines() if len(line) > 60]


def asked(text: str) -> tuple[Message, ...]:
    return (Message("user", f"Explain: {text[:200]}"),)


def reference(model: OpenvinoModel, replies: list[tuple[tuple[Message, ...], str]]) -> list[list[float]]:
    """Log-probability of every token of each reply, by transformers in float32 on the same file."""
    import torch
    from transformers import AutoModelForCausalLM

    path = hub.locate(NAME, model._engine._cache)
    net = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    template, out = model._engine.template, []
    for messages, text in replies:
        prompt = template.tokens(messages)
        rest = (*template.plain(text), template.turn_end)
        with torch.inference_mode():
            logits = net(torch.tensor([[*prompt, *rest]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        out.append([float(logits[i, token]) for i, token in enumerate(rest)])
    return out


class Clock:
    def __enter__(self) -> Clock:
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu

    def __str__(self) -> str:
        return f"{self.wall:.1f} s, CPU {self.cpu:.1f} s"


async def measure(args: argparse.Namespace) -> None:
    texts = lines()
    given: list[tuple[tuple[Message, ...], str]] = []
    truth: list[list[float]] = []
    for precision in args.precisions.split(","):
        model = open_model(NAME, Settings({"precision": precision}))
        requests = [Request(asked(text), Sampling(max_tokens=32)) for text in texts[: args.replies]]
        await model.generate(requests[:1])
        with Clock() as answering:
            replies = await model.generate(requests)
        if not given:
            given = [(request.messages, reply.text) for request, reply in zip(requests, replies, strict=True)]
            truth = reference(model, given)
        apart = [abs(a - b) for ours, theirs in zip(await model.recall(given), truth, strict=True)
                 for a, b in zip(ours, theirs, strict=True)]  # fmt: skip
        turned = await unstable(model, requests)
        scores = [ScoreRequest(asked(text), LABELS) for text in texts[args.replies : args.replies + args.labels]]
        model.forget()
        with Clock() as scoring:
            together = await model.score(scores)
        alone = [(await model.score([request]))[0] for request in scores]
        away = [
            max(abs(x - y) for x, y in zip(a.logprobs, b.logprobs, strict=True) if np.isfinite(x) and np.isfinite(y))
            for a, b in zip(together, alone, strict=True)
        ]
        labels = sum(a.best != b.best for a, b in zip(together, alone, strict=True))
        print(
            f"{precision}: {len(replies)} replies of 32 tokens {answering}; {len(scores)} texts to 5 labels {scoring}\n"
            f"  to transformers in float32, {len(apart)} tokens: mean {statistics.fmean(apart):.3f}, "
            f"99th percentile {np.percentile(apart, 99):.3f}, most {max(apart):.3f}\n"
            f"  alone and in a batch: {len(turned)} of {len(replies)} answers turn, {labels} of {len(scores)} labels, "
            f"log-probabilities {max(away):.1e} apart",
            flush=True,
        )
        await model.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replies", type=int, default=24)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--precisions", default="f32,bf16")
    here = machine()
    print(f"{here.processor}, {here.kind}, {here.cores} cores")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
