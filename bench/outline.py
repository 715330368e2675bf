"""Output templates on real orders: how many of N outputs follow [Introduction][Summary][Analysis][Conclusion].

The orders are the user-oriented instructions of Self-Instruct (Wang et al. 2023; user_oriented_instructions.jsonl), evenly
spaced through the file. Each is answered under the template's grammar, and, for comparison, told the template only. What
counts is checked here by lines, with none of the package's own parsing: the four headings in order, each once on a line of its
own, then text of at most WIDTH characters that is not empty, and nothing before, between or after.

    RUNG_DATA=FOLDER python bench/outline.py [--n 100] [--part 0:50] [--free 100] [--model openvino:smollm2-135m]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from rung.core.protocols import Model
from rung.core.settings import Settings
from rung.core.types import Answer, Capabilities, Reply, Request
from rung.metrics.stats import wilson
from rung.models import Pool
from rung.prompts.patterns.asking.outline import Outline, OutlineProgram
from rung.prompts.template.prompt import Prompt

SECTIONS = ("Introduction", "Summary", "Analysis", "Conclusion")
WIDTH = 240
FREE = 400


def complaint(text: str) -> str:
    """Empty when the text follows the template, else why not."""
    lines = text.split("\n")
    wanted = [part for name in SECTIONS for part in (f"[{name}]", "", "gap")][:-1]
    if len(lines) != len(wanted):
        return f"{len(lines)} lines, expected {len(wanted)}"
    for line, want in zip(lines, wanted, strict=True):
        if want == "gap" and line:
            return "text between the sections"
        if want.startswith("[") and line != want:
            return f"{line[:30]!r} in place of {want}"
        if want == "" and not 0 < len(line.strip()) <= len(line) <= WIDTH:
            return f"a section of {len(line)} characters"
    return ""


class Untied:
    """The same model without constrained decoding. It need not end by itself: it gets FREE new tokens."""

    def __init__(self, model: Model) -> None:
        self.name, self.fingerprint = model.name, model.fingerprint
        self.capabilities: Capabilities = replace(model.capabilities, forms=frozenset())
        self.stream, self.score, self.count, self.close = model.stream, model.score, model.count, model.close
        self._generate = model.generate

    async def generate(self, requests: Sequence[Request]) -> list[Reply]:
        return await self._generate(
            [replace(request, sampling=replace(request.sampling, max_tokens=FREE)) for request in requests]
        )


def read_orders(folder: Path, n: int) -> list[str]:
    path = folder / "self_instruct" / "user_oriented_instructions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    texts = ["\n".join(filter(None, (row["instruction"], row["instances"][0]["input"]))) for row in rows]
    return [texts[at * len(texts) // n] for at in range(min(n, len(texts)))]


async def ask(program: OutlineProgram, orders: Sequence[str]) -> tuple[list[Answer], float]:
    started = time.perf_counter()
    return list(await asyncio.gather(*(program(order) for order in orders))), time.perf_counter() - started


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("RUNG_DATA"))
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--part", default="0:", metavar="A:B", help="only these of the orders")
    parser.add_argument("--free", type=int, default=100, help="orders that are answered without the grammar too")
    parser.add_argument("--model", default="openvino:smollm2-135m")
    given = parser.parse_args()
    if given.data is None:
        sys.exit("name the folder of the data: RUNG_DATA=FOLDER, or --data FOLDER")
    first, _, last = given.part.partition(":")
    orders = read_orders(given.data, given.n)[int(first or 0) : int(last) if last else None]
    async with Pool(Settings(), default=given.model) as pool:
        model = pool.model()
        outline, prompt = Outline(SECTIONS, WIDTH), Prompt("Answer the request.")
        load = os.getloadavg()[0]
        print(f"{given.model}, [{']['.join(SECTIONS)}], sections of at most {WIDTH} characters; Python "
              f"{platform.python_version()}, openvino {version('openvino')}, {os.cpu_count()} cores, load {load:.1f}")  # fmt: skip
        for title, program, asked in (
            ("under the grammar", OutlineProgram(outline, model, prompt=prompt), orders),
            ("told only", OutlineProgram(outline, Untied(model), prompt=prompt), orders[: given.free]),
        ):
            if not asked:
                continue
            answers, seconds = await ask(program, asked)
            wrong = [why for answer in answers if (why := complaint(answer.raw))]
            parsed = sum(answer.failure is None for answer in answers)
            share = wilson(len(asked) - len(wrong), len(asked))
            tokens = sum(answer.usage.completion_tokens for answer in answers)
            print(f"{title:<18} {len(asked) - len(wrong)} of {len(asked)} follow it [{share.low:.3f}, {share.high:.3f}]; "
                  f"{parsed} read by the package; {tokens / len(asked):.0f} new tokens each, {seconds:.0f} s")  # fmt: skip
            for why in sorted(set(wrong), key=wrong.count, reverse=True)[:5]:
                print(f"  {wrong.count(why)} x {why}")
            if title == "under the grammar":
                print("\n".join(f"  | {line}" for line in answers[len(answers) // 2].raw.splitlines()))


if __name__ == "__main__":
    asyncio.run(main())
