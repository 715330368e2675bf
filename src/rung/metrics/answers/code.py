"""Code: is it the text that is missing, how far is it from it, and does it pass its tests?

Tests run in a sandbox (rung.sandbox).
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence
from typing import Any

from rung.core.errors import InputError
from rung.core.protocols import Resources
from rung.core.types import Case, Score
from rung.metrics.mean import Mean, failed, pass_at, references, shown
from rung.sandbox import CodeSandbox, Quota, open_sandbox

_FENCE = re.compile(r"^```[\w+-]*\n|\n?```\s*$")


def _lines(value: Any, count: int) -> str:
    """The first ``count`` lines of an answer, without a code fence around it and spaces at the ends of lines: a model
    that goes on behind the hole is judged by what it put into the hole, as in RepoBench (Liu et al. 2023)."""
    text = _FENCE.sub("", str("" if value is None else value).strip())
    return "\n".join(line.rstrip() for line in text.strip().split("\n")[:count])


def distance(a: str, b: str) -> int:
    """Levenshtein distance: the fewest characters put in, taken out or exchanged. O(len(a) * len(b))."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, two in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != two))
    return row[-1]


class EditSimilarity(Mean):
    """1 - Levenshtein distance / length of the longer one, of the answer's first lines (as many as the reference
    has)."""

    name = "edit-similarity"

    def grade(self, case: Case) -> Score:
        best, wanted = max(
            ((self._similarity(case.output, str(option)), str(option)) for option in references(case)),
            key=lambda pair: pair[0],
        )
        return Score(best, f"similarity {best:.2f}: expected {shown(wanted)}, got {shown(case.output)}")

    @staticmethod
    def _similarity(output: Any, wanted: str) -> float:
        wanted = "\n".join(line.rstrip() for line in wanted.strip().split("\n"))
        # What is far longer than the hole is wrong whatever stands at its end; the table would only grow.
        got = _lines(output, wanted.count("\n") + 1)[: 10 * len(wanted) + 200]
        longest = max(len(got), len(wanted))
        return 1 - distance(got, wanted) / longest if longest else 1.0


class CodeExact(Mean):
    """1 when the answer's first lines are the missing text, letter by letter but for spaces at the ends of lines, else
    0."""

    name = "code-exact"

    def grade(self, case: Case) -> Score:
        for option in references(case):
            wanted = "\n".join(line.rstrip() for line in str(option).strip().split("\n"))
            if _lines(case.output, wanted.count("\n") + 1) == wanted:
                return Score(1.0, f"{shown(wanted)} as expected")
        return Score(0.0, f"expected {shown(references(case)[0])}, got {shown(case.output)}")


EDIT_SIMILARITY = EditSimilarity()
CODE_EXACT = CodeExact()


QUOTA = Quota(seconds=10.0, memory=1024, output=16_000)
_FENCED = re.compile(r"```[\w+-]*[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)


def program(prompt: str, output: str, tests: Any) -> str:
    """What is run: the answer, behind the prompt where it goes on from one, then its tests.

    ``tests`` is a list of statements (MBPP) or a text (HumanEval); a text that defines ``check`` and does not call it
    is called with the last function that the prompt defines. A fence around the code is dropped, and what stands
    outside of it.
    """
    found = _FENCED.search(output)
    code = found[1] if found else output
    names = re.findall(r"^def (\w+)", prompt, re.MULTILINE)
    entry = names[-1] if names else ""
    if prompt and not re.search(rf"^\s*def {entry}\b", code, re.MULTILINE):
        code = f"{prompt}{code}" if entry else code
    elif entry:
        code = f"{_head(prompt, entry)}\n{code}"
    text = "\n".join(map(str, tests)) if isinstance(tests, list | tuple) else str(tests)
    if "def check(" in text and not re.search(r"^check\(", text, re.MULTILINE):
        text += f"\ncheck({entry})"
    return f"{code}\n\n{text}\n"


def _head(prompt: str, entry: str) -> str:
    """What the prompt defines before the function that is asked for: imports and helpers."""
    return prompt[: prompt.rindex(f"def {entry}")]


class Passes(Mean):
    """1 when the code passes its tests (``k`` 1), or pass@k over the answers where the output is a list of them."""

    def __init__(self, sandbox: CodeSandbox, k: int = 1) -> None:
        self.sandbox, self.k = sandbox, k
        self.name = "pass" if k == 1 else f"pass:{k}"

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        """One Score a case, in order; the tests of several run at once."""
        room = asyncio.Semaphore(4)

        async def one(case: Case) -> Score:
            if case.failure is not None:
                return failed(case)
            outputs = case.output if isinstance(case.output, list | tuple) else [case.output]
            async with room:
                told = [await asyncio.to_thread(self._run, case, str(output or "")) for output in outputs]
            passed = sum(why == "" for why in told)
            value = pass_at(len(told), passed, self.k)
            worst = next((why for why in told if why), "")
            return Score(value, f"{passed} of {len(told)} pass" + (f"; {worst}" if worst else ""))

        return list(await asyncio.gather(*map(one, cases)))

    def _run(self, case: Case, output: str) -> str:
        prompt = next(iter(case.input.values()), "")
        return run_tests(self.sandbox, prompt if "def " in prompt else "", output, case.reference)


def run_tests(sandbox: CodeSandbox, prompt: str, output: str, tests: Any, quota: Quota = QUOTA) -> str:
    """Why an answer fails its tests (see ``program``); empty when it passes. Passed is what reaches the end: an answer
    that leaves early has not."""
    token = secrets.token_hex(8)
    try:
        outcome = sandbox.run(f"{program(prompt, output, tests)}\n{token!r}", quota=quota)
    except InputError as error:
        return error.message
    if outcome.done and outcome.value == repr(token):
        return ""
    if outcome.done:
        return "it ended before its tests did"
    return (outcome.error or outcome.ended).splitlines()[-1][:200]


def open_passes(argument: str, resources: Resources) -> Passes:
    """``pass`` or ``pass:K``. Raises Unsupported (code ``no-sandbox``) where no sandbox runs CPython."""
    if argument and not (argument.isdigit() and int(argument) > 0):
        raise InputError(f"got pass:{argument}, expected a whole number above 0", remedy="write pass:1")
    return Passes(open_sandbox("bubblewrap"), int(argument or 1))
