"""What each part of a task's prompt is worth, through the journal."""

from __future__ import annotations

from dataclasses import dataclass

from rung.core.parts.option import option
from rung.core.protocols import Context
from rung.core.types import Task
from rung.ladder.measure.looks import Test
from rung.ladder.records import verdict
from rung.ladder.view.numbers import change
from rung.prompts.search.ablate import Ablation, ablate, whole_prompt
from rung.studies.study import Lab, Study


@dataclass(frozen=True)
class Ablate(Study[Task, Ablation]):
    """What each part of the prompt is worth: the whole prompt against the prompt without it, on dev, pair by pair."""

    name = "ablation"
    subject = "task"
    records = Ablation

    drop: tuple[str, ...] = option((), "Only this part; may be repeated.", flags=("--drop",))
    shots: int = option(4, "Training examples in the prompt.", low=0)
    limit: int = option(100, "At most this many dev examples.", low=1)
    style: str = option("chat", "chat, plain, brackets, markdown or xml.")
    seed: int = option(0, "Seed of the draw of examples.")

    async def measure(self, subject: Task, lab: Lab) -> Ablation:
        """Raises InputError for a part that the prompt does not have, a style that is none, or no dev examples."""
        prompt = whole_prompt(subject, shots=self.shots, seed=self.seed, style=self.style)
        evaluator = lab.evaluator(lab.metrics(subject)[:1], run="ablate", test=Test(lab.store, subject, "ablate"))
        context = Context(lab.resources, lab.settings.home, evaluator.fitting, self.seed, lab.progress)
        return await ablate(subject, prompt, context, subject.dev[: self.limit], self.drop)

    def table(self, found: Ablation) -> str:
        lines = [
            f"whole prompt: {found.metric} {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] "
            f"on {found.n} dev examples, {found.tokens:.0f} tokens an answer"
        ]
        lines += [
            f"  without {row.part:<12} {row.value:.3f}   the part adds {change(row.difference)}, p {row.difference.p:.3f} "
            f"(Holm), {row.tokens:+.0f} tokens: {verdict(row.difference)}"
            for row in found.removals
        ]
        return "\n".join(lines)
