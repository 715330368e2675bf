"""IFEval with and without the answer's form, from the answers of a run of bench/tasks/ifeval.yaml: by kind of instruction.

    RUNG_DATA=FOLDER rung climb bench/tasks/ifeval.yaml
    python bench/ifeval.py [RUN] [--store sqlite:///.rung/rung.db] [--free free] [--form grammar]

`enforced` are the instructions that the form guarantees in an answer that is whole (prompts/checked.py compiles them), `left` those
that the model must keep by itself. Differences are paired by prompt, with the bootstrap's 95% interval over prompts.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Container
from functools import partial

from rung.core.settings import Settings
from rung.core.types import Result, Score
from rung.ladder.history import read_results, read_run
from rung.ladder.view.numbers import pvalue
from rung.metrics.rules.instructions import (
    CheckableInstruction,
    InstructionLevel,
    PromptLevel,
    Way,
    read_instructions,
    verdicts,
)
from rung.metrics.stats import interval, paired
from rung.models import Pool
from rung.prompts.patterns.checking.checked.form import compile_form
from rung.store import open_store

GROUPS = ("all", "enforced", "left")


def judged(result: Result, way: Way) -> list[tuple[CheckableInstruction, bool]]:
    instructions = read_instructions(result.example.reference)
    if result.answer.failure is not None:
        return [(one, False) for one in instructions]
    return list(zip(instructions, verdicts(str(result.answer.output), instructions, way), strict=True))


def belongs(group: str, kept: Container[CheckableInstruction], one: CheckableInstruction) -> bool:
    """Whether an instruction is of the group: all, those that the form enforces, those that are left to the model."""
    return group == "all" or (one in kept) == (group == "enforced")


def spell(value: object) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"  # type: ignore[attr-defined]


def signed(value: object) -> str:
    return f"{value.value:+.3f} [{value.low:+.3f}, {value.high:+.3f}]"  # type: ignore[attr-defined]


def main() -> None:
    import asyncio

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", default="last")
    parser.add_argument("--store", default=None)
    parser.add_argument("--free", default="free")
    parser.add_argument("--form", default="grammar")
    parser.add_argument("--tokens", type=int, default=224, help="max_tokens of the task")
    given = parser.parse_args()
    settings = Settings({"store": given.store})

    async def read() -> tuple[list[Result], list[Result]]:
        with open_store(settings.store_url) as store:
            run = read_run(store, given.run)
            return (
                await read_results(store, run, given.free, Pool(settings)),
                await read_results(store, run, given.form, Pool(settings)),
            )

    sides = asyncio.run(read())
    common = {r.example.id for r in sides[0]} & {r.example.id for r in sides[1]}
    free, formed = ([r for r in side if r.example.id in common] for side in sides)
    n = len(common)
    if lost := len({r.example.id for side in sides for r in side}) - n:
        print(f"{lost} prompts have no answer on one side (the model failed) and are left out\n")
    compiled = [compile_form(read_instructions(result.example.reference), given.tokens) for result in free]
    print(f"{n} prompts, {sum(len(read_instructions(r.example.reference)) for r in free)} instructions\n")
    print(
        f"| instructions | n | {given.free} [95%] | {given.form} [95%] | difference [95%], paired | p |\n|{'---|' * 6}"
    )
    for way in ("strict", "loose"):
        both = [[judged(result, way) for result in side] for side in (free, formed)]
        for group in GROUPS:
            at = [partial(belongs, group, form.kept) for form in compiled]
            parts = [
                [
                    [sum(good for one, good in item if wanted(one)), sum(wanted(one) for one, _ in item)]
                    for item, wanted in zip(side, at, strict=True)
                ]
                for side in both
            ]
            # Prompts without an instruction of the group tell nothing of it.
            use = [i for i in range(n) if parts[0][i][1]]
            metric = InstructionLevel(way)
            a, b = ([Score(s[i][0] / s[i][1], parts=(float(s[i][0]), float(s[i][1]))) for i in use] for s in parts)
            d = paired(metric, b, a)
            total = sum(parts[0][i][1] for i in use)
            print(
                f"| {group}, {way} | {total} | {spell(interval(metric, a))} | {spell(interval(metric, b))} | {signed(d)} | {pvalue(d.p)} |"
            )
        prompt = PromptLevel(way)
        a, b = ([Score(float(all(good for _, good in item))) for item in side] for side in both)
        d = paired(prompt, b, a)
        print(
            f"| prompts, {way} | {n} | {spell(interval(prompt, a))} | {spell(interval(prompt, b))} | {signed(d)} | {pvalue(d.p)} |"
        )
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("n", "enforced", "free", "form")}
    for one, other, form in zip(free, formed, compiled, strict=True):
        for (instruction, good), (_, better) in zip(judged(one, "strict"), judged(other, "strict"), strict=True):
            counts["n"][instruction.kind] += 1
            counts["enforced"][instruction.kind] += instruction in form.kept
            counts["free"][instruction.kind] += good
            counts["form"][instruction.kind] += better
    print(f"\n| kind, strict | n | enforced | {given.free} | {given.form} |\n|{'---|' * 5}")
    for kind in sorted(counts["n"]):
        print(f"| {kind} | {' | '.join(str(counts[name][kind]) for name in ('n', 'enforced', 'free', 'form'))} |")
    for name, side in ((given.free, free), (given.form, formed)):
        cut = sum(result.answer.usage.completion_tokens >= given.tokens for result in side)
        failed = Counter(r.answer.failure.where for r in side if r.answer.failure is not None)
        tokens = sum(result.answer.usage.completion_tokens for result in side) / n
        print(
            f"\n{name}: {cut} of {n} answers cut off at {given.tokens} tokens, {tokens:.0f} new tokens on average, failures {dict(failed)}"
        )


if __name__ == "__main__":
    main()
