"""Does a judge judge as people do? LLMBar's pairs with people's labels; MT-Bench's reference answers against spoilt ones.

LLMBar (Zeng et al. 2023): 100 natural and 319 adversarial pairs, label: the one that follows the instruction. MT-Bench (Zheng
et al. 2023) has no human verdicts in these files; its 30 reference answers (GPT-4's, to the first turn) are set against copies that were
spoilt by rule, so that only the easiest of judging is tried: `cut` (the first half), `other` (the answer to another question
of the category), `numbers` (every number changed). Every judgement is kept in --out, so that a killed run goes on.

    RUNG_DATA=FOLDER python bench/agree.py [--model openvino:smollm2-135m] [--out .rung/agree] [--limit 100]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from rung.core.codec import decode, digest, encode
from rung.core.protocols import Model
from rung.core.settings import Settings
from rung.core.types import Chunk, Interval, Reply, Request, ScoreRequest, Scores
from rung.models import Pool
from rung.prompts.patterns.judging.agree import JudgeAgreement, Pair, agreement, read_judged

LLMBAR = {
    "natural": ("natural",),
    "adversarial": ("adversarial_neighbor", "adversarial_gptinst", "adversarial_gptout", "adversarial_manual"),
}
RUBRIC = "instruction: Does the answer do exactly what was asked, correctly?"
SPOILT = ("cut", "other", "numbers")


def spoilt(folder: Path, how: str) -> list[Pair]:
    """Reference answers of the first turn beside a spoilt copy; the good one is first and second in turn."""
    questions, answers = {}, {}
    for line in (folder / "question.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        questions[row["question_id"]] = (row["category"], row["turns"][0])
    for line in (folder / "reference_answer_gpt-4.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        answers[row["question_id"]] = row["choices"][0]["turns"][0]
    pairs: list[Pair] = []
    for id, good in answers.items():
        category, question = questions[id]
        if how == "cut":
            bad = good[: len(good) // 2]
        elif how == "other":
            rivals = [other for other in answers if other != id and questions[other][0] == category]
            bad = answers[rivals[id % len(rivals)]]
        else:
            bad = re.sub(r"\d+", lambda found: str(int(found[0]) + 1 + int(found[0]) // 3), good)
        if bad.strip() and bad != good:
            first = len(pairs) % 2 == 0
            pairs.append(Pair(question, good if first else bad, bad if first else good, 1 if first else 2))
    return pairs


def span(value: Interval | None) -> str:
    return "–" if value is None else f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


def row(name: str, found: JudgeAgreement) -> str:
    ways = {way.way: way for way in found.ways}
    cells = [name, str(found.n)]
    for way in ("once", "swapped", "graded"):
        cells += [span(ways[way].agree), span(ways[way].kappa)] if way in ways else ["–", "–"]
    cells += [span(found.bias.stable), span(found.bias.first), span(found.longer), span(found.longer_right)]
    d = found.padding
    cells.append("–" if d is None else f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]")
    return f"| {' | '.join(cells)} |"


class Kept:
    """A model whose scores are kept in a file, sixteen at a time, so that a judging that was killed goes on."""

    def __init__(self, model: Model, path: Path) -> None:
        self.model, self.path = model, path
        self.name, self.fingerprint, self.capabilities = model.name, model.fingerprint, model.capabilities
        self.known: dict[str, Scores] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in path.read_text().splitlines() if path.exists() else ():
            if line.endswith("}"):
                row = json.loads(line)
                self.known[row["key"]] = decode(Scores, row["scores"])

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        keys = [digest([self.fingerprint, one]) for one in requests]
        fresh = [i for i, key in enumerate(keys) if key not in self.known]
        for start in range(0, len(fresh), 16):
            some = fresh[start : start + 16]
            found = await self.model.score([requests[i] for i in some])
            self.known |= {keys[i]: one for i, one in zip(some, found, strict=True)}
            with self.path.open("a") as stream:
                stream.writelines(
                    json.dumps({"key": keys[i], "scores": encode(one)}) + "\n"
                    for i, one in zip(some, found, strict=True)
                )
        return [self.known[key] for key in keys]

    async def generate(self, requests: Sequence[Request]) -> list[Reply]:
        return await self.model.generate(requests)

    def stream(self, request: Request) -> AsyncIterator[Chunk]:
        return self.model.stream(request)

    def count(self, messages: Sequence[Any]) -> int:
        return self.model.count(messages)

    async def close(self) -> None:
        await self.model.close()


async def judge(model: str, pairs: list[Pair], kept: Path) -> JudgeAgreement:
    async with Pool(Settings({"model": model})) as pool:
        return await agreement(Kept(pool.model(model), kept), RUBRIC, pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("RUNG_DATA", ".")))
    parser.add_argument("--model", default="openvino:smollm2-135m")
    parser.add_argument("--out", type=Path, default=Path(".rung/agree"))
    parser.add_argument("--limit", type=int, default=None)
    given = parser.parse_args()
    sets: list[tuple[str, list[Pair]]] = []
    for kind, files in LLMBAR.items():
        read = [row for name in files for row in read_judged(given.data / "llmbar" / f"{name}.json")]
        # In the order of a hash, so that the first ones are a sample of all files.
        pairs = sorted((one for one in read if isinstance(one, Pair)), key=digest)
        sets.append((f"llmbar {kind}", pairs))
    sets += [(f"mt_bench {how}", spoilt(given.data / "mt_bench", how)) for how in SPOILT]
    print(
        "| set | pairs | once: agree | kappa | swapped: agree | kappa | graded: agree | kappa | stable | first | longer | longer is better | padding |"
    )
    print(f"|{'---|' * 13}")
    started = time.monotonic()
    for name, pairs in sets:
        some = pairs[: given.limit]
        print(row(name, asyncio.run(judge(given.model, some, given.out / "scores.jsonl"))), flush=True)
    print(f"\n{given.model}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.monotonic() - started:.0f} s, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
