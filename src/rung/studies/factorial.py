"""A factorial run over the journal: what each pattern adds, as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rung.core.protocols import Context, Resources
from rung.core.settings import Settings
from rung.core.types import Example, Progress, Task
from rung.ladder.measure.evaluate import Evaluator
from rung.metrics import load_metric
from rung.metrics.stats import Difference
from rung.prompts.patterns.combine import Factorial, factorial
from rung.store import open_store


async def run_factorial(
    task: Task,
    factors: Sequence[str],
    examples: Sequence[Example],
    settings: Settings,
    resources: Resources,
    progress: Callable[[Progress], None],
) -> Factorial:
    """Every combination of ``factors`` over ``examples`` through the store's journal, so that a killed run goes on."""
    with open_store(settings.store_url) as store:
        metrics = [load_metric(name, resources) for name in task.metrics]
        evaluator = Evaluator(store, "", metrics, concurrency=settings["concurrency"])
        context = Context(resources, settings.home / "factorial", evaluator, progress=progress)
        return await factorial(task, factors, context, examples)


def table(found: Factorial) -> str:
    """Main effects, interactions and cells as plain text."""
    lines = [f"{found.metric} over {found.n} examples, all {len(found.cells)} combinations", "", "main effects"]
    width = max(len("+".join(effect.factors)) for effect in (*found.main, *found.interactions))
    lines += [
        f"  {effect.factors[0]:<{width}}  {_difference(effect.difference)}  p {effect.p:.3f}" for effect in found.main
    ]
    if found.interactions:
        lines += ["", "together more than each alone"]
        lines += [
            f"  {'+'.join(effect.factors):<{width}}  {_difference(effect.difference)}  p {effect.p:.3f}"
            for effect in found.interactions
        ]
    lines += ["", "combinations"]
    width = max(len(cell.title) for cell in found.cells)
    for cell in sorted(found.cells, key=lambda cell: -cell.quality.value):
        q = cell.quality
        failed = f", {cell.failures} failed" if cell.failures else ""
        lines.append(
            f"  {cell.title:<{width}}  {q.value:.3f} [{q.low:.3f}, {q.high:.3f}]  {cell.usage.tokens:,} tokens{failed}"
        )
    lines.append("\np: corrected for their number (Holm); intervals are of each effect by itself, 95%")
    return "\n".join(lines)


def _difference(d: Difference) -> str:
    return f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
