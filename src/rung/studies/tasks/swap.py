"""The counterfactual swap test of a task's prompt, through the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.core.types import Answer, Example, Input, Task, as_input
from rung.ladder.view.numbers import change, exact
from rung.prompts.patterns.combine import compose
from rung.safety.counterfactual import NAMES, Gap, gap, swaps
from rung.studies.study import Lab, Study, listed


@dataclass(frozen=True)
class SwapTest(Study[Task, Gap]):
    """Counterfactual swap test: does the answer change when only a name or a gender does?"""

    name = "swap"
    subject = "task"
    records = Gap

    input: tuple[str, ...] = option(
        (), "Inputs with {name}; else the task's dev set.", flags=("-i", "--input"), metavar="TEXT"
    )
    groups: str = option("women,men", "Two groups of names.")
    favourable: str | None = option(None, "The answer that is good for the person.")
    parts: str = option("none", "Patterns of the prompt: persona+few-shot.", metavar="A+B")
    limit: int = option(50, "At most this many inputs.", low=1)

    async def measure(self, subject: Task, lab: Lab) -> Gap:
        """Raises InputError for other than two groups, nothing to swap, or when no swap was answered."""
        program, evaluator = compose(subject, self.parts, lab.resources), lab.evaluator(())
        one, other = self._groups()
        given = [as_input(text, subject.fields) for text in self.input]
        inputs = given or [example.input for example in subject.dev]

        async def ask(versions: Sequence[Input]) -> list[Answer]:
            examples = [Example(digest(dict(version))[:12], version, "") for version in versions]
            return [result.answer for result in await evaluator(program, examples)]

        return await gap(ask, swaps(inputs, groups=(one, other))[: self.limit], favourable=self.favourable)

    def _groups(self) -> tuple[str, str]:
        pair = listed(self.groups)
        if len(pair) != 2:
            raise InputError(f"got the groups {self.groups!r}, expected two", remedy=f"groups: {', '.join(NAMES)}")
        return pair[0], pair[1]

    def table(self, found: Gap) -> str:
        lines = [f"{found.n} swaps, {found.failed} without an answer", f"answers that change  {exact(found.flips)}"]
        if found.favour is not None:
            one, other = self._groups()
            lines.append(f"{self.favourable}: {one} less {other}  {change(found.favour)}  p {found.favour.p:.3f}")
        lines += [f"  {row.swap.what}: {row.one.output} / {row.other.output}" for row in found.changed[:5]]
        return "\n".join(lines)
