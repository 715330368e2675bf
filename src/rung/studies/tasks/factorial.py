"""A factorial run over the journal: what each pattern adds, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass

from rung.core.parts.option import option
from rung.core.protocols import Context
from rung.core.text.columns import align
from rung.core.types import Task
from rung.ladder.measure.looks import Test
from rung.ladder.view.numbers import change, exact
from rung.prompts.patterns.combine import Effect, Factorial, factorial
from rung.studies.study import Lab, Study, listed, part


@dataclass(frozen=True)
class RunFactorial(Study[Task, Factorial]):
    """Ask all combinations of some patterns and print each one's main effect with its interval."""

    name = "factorial"
    subject = "task"
    records = Factorial

    factors: str = option(MISSING, "Patterns, with commas between: persona,few-shot=3,cot.")
    limit: int = option(50, "At most this many examples of the split.", low=1)
    split: str = option("dev", "dev or test; test only once everything is chosen.")

    async def measure(self, subject: Task, lab: Lab) -> Factorial:
        """Every combination of the factors over the same examples. Raises InputError as ``factorial`` does."""
        examples = part(subject, self.split, self.limit)
        evaluator = lab.evaluator(lab.metrics(subject), test=Test(lab.store, subject, self.name))
        context = Context(lab.resources, lab.settings.home / "factorial", evaluator, progress=lab.progress)
        return await factorial(subject, listed(self.factors), context, examples)

    def table(self, found: Factorial) -> str:
        def effects(title: str, rows: Sequence[Effect]) -> list[str]:
            cells = [[f"  {'+'.join(row.factors)}", change(row.difference), f"p {row.p:.3f}"] for row in rows]
            return ["", title, align(cells)] if rows else []

        cells = sorted(found.cells, key=lambda cell: -cell.quality.value)
        rows = [
            [f"  {cell.title}", exact(cell.quality), f"{cell.usage.tokens:,} tokens", _failed(cell.failures)]
            for cell in cells
        ]
        lines = [
            f"{found.metric} over {found.n} examples, all {len(found.cells)} combinations",
            *effects("main effects", found.main),
            *effects("together more than each alone", found.interactions),
            *("", "combinations", align(rows), ""),
            "p: corrected for their number (Holm); intervals are of each effect by itself, 95%",
        ]
        return "\n".join(lines)


def _failed(n: int) -> str:
    return f"{n} failed" if n else ""
