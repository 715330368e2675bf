"""Runs as tables in a terminal: one way to write each figure, used by every verb."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rung.core.codec import spell
from rung.core.types import Interval, Result, text_of
from rung.ladder.history import Comparison
from rung.ladder.records import RungRecord, RunRecord, verdict
from rung.metrics.stats import Difference

MARKS = {"done": "", "stopped": "stopped early", "skipped": "skipped", "failed": "failed", "budget": "budget spent"}


def quality(interval: Interval | None) -> str:
    """``0.834 [0.78, 0.88]``"""
    return "" if interval is None else f"{interval.value:.3f} [{interval.low:.2f}, {interval.high:.2f}]"


def difference(change: Difference | None) -> str:
    """``+0.05 [+0.01, +0.09] p 0.004``, or the same figures with "no difference"."""
    if change is None:
        return "–"
    figures = f"{change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}]"
    return f"{figures} no difference" if verdict(change) == "no difference" else f"{figures} p {pvalue(change.p)}"


def pvalue(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def seconds(value: float | None) -> str:
    """Wall time in the unit that reads best."""
    if value is None:
        return "–"
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"
    if value < 90:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 90 else f"{minutes / 60:.1f} h"


def money(value: float) -> str:
    """US dollars with three significant digits."""
    return "$0" if value == 0 else f"${value:.3g}" if value < 100 else f"${value:,.0f}"


def count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def note(record: RungRecord) -> str:
    """What is special about a rung: why it has no figures, where it stopped, what failed."""
    if not record.scored:
        reason = record.reason.splitlines()[0] if record.reason else ""
        return f"{MARKS[record.status]}: {reason}" if reason else MARKS[record.status]
    parts = [f"{MARKS[record.status]} at {record.n}/{record.planned}"] if record.status != "done" else []
    parts += [f"{n} {where} failures" for where, n in record.failures.items()]
    return ", ".join(parts)


def _name(record: RungRecord, recommended: str) -> Text:
    chosen = record.title == recommended
    return Text(("→ " if chosen else "  ") + record.title, style="bold green" if chosen else "", overflow="ellipsis")


def qualities(run: RunRecord) -> Table:
    """One row a rung: every metric with its interval, and the paired differences in the first one."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("  rung", no_wrap=True)
    for title in (*(f"{name} [95%]" for name in run.metrics[:2]), "to the baseline", "to the best"):
        table.add_column(title, no_wrap=True)
    table.add_column("note", overflow="fold")
    recommended = run.recommendation.rung if run.recommendation else ""
    for record in run.rungs:
        figures = [quality(record.metrics.get(name)) for name in run.metrics[:2]]
        changes = [difference(record.baseline), difference(record.best)] if record.scored else ["", ""]
        table.add_row(_name(record, recommended), *map(escape, [*figures, *changes]), Text(note(record), style="dim"))
    return table


def costs(run: RunRecord) -> Table:
    """One row a rung that was measured: what an answer costs, and what fitting cost."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("  rung", no_wrap=True)
    for title in (
        "p50",
        "p95",
        "tokens",
        "cached",
        "$/1,000",
        "CPU",
        "peak MB",
        "fit",
        "fit tokens",
        "pays back after",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    recommended = run.recommendation.rung if run.recommendation else ""
    for record in run.rungs:
        if (online := record.online) is None:
            continue
        table.add_row(
            _name(record, recommended),
            seconds(online.p50),
            seconds(online.p95),
            count(online.tokens),
            count(online.cached_tokens),
            money(online.cost * 1000),
            seconds(online.cpu_seconds),
            count(online.peak_mb) if online.peak_mb is not None else "–",
            seconds(record.offline.seconds),
            count(record.offline.usage.tokens),
            f"{count(record.payback)} answers" if record.payback is not None else "",
        )
    return table


def headline(run: RunRecord) -> str:
    """One line about a run."""
    counts = ", ".join(f"{n} {split}" for split, n in run.counts.items())
    return f"{run.task}  run {run.id}  {run.model or 'no model'}  {counts}  {seconds(run.seconds)}  {run.status}"


def whole(run: RunRecord) -> RenderableType:
    """The table of a run with its recommendation under it."""
    lines: list[RenderableType] = [Text(headline(run), style="bold"), "", qualities(run), "", costs(run)]
    if run.recommendation is not None:
        lines += ["", Text("Recommendation", style="bold"), *sentences(run.recommendation.why)]
    if run.notes:
        lines += ["", *sentences(run.notes)]
    return Group(*lines)


def sentences(texts: Iterable[str]) -> list[RenderableType]:
    return [Text(f"  {text}") for text in texts]


def results_table(results: Sequence[Result], metrics: Sequence[str]) -> Table:
    """One row an example: what came in, what was wanted, what came out, how it scored."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("example", no_wrap=True)
    for title in ("input", "reference", "output"):
        table.add_column(title, max_width=48)
    for name in metrics:
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        answer = result.answer
        output = f"[{answer.failure.where}] {answer.failure.message}" if answer.failure else short(answer.output)
        table.add_row(
            Text(result.example.id),
            Text(short(text_of(result.example.input))),
            Text(short(result.example.reference)),
            Text(output, style="red" if answer.failure else ""),
            *(f"{result.scores[name].value:.2f}" for name in metrics),
        )
    return table


def one_example(result: Result) -> RenderableType:
    """Everything about one answer: the exact messages of each call, raw and parsed output, scores and why, usage."""
    answer = result.answer
    lines: list[RenderableType] = [Text(f"example {result.example.id}", style="bold")]
    for number, step in enumerate(answer.steps, 1):
        lines.append(Text(f"\ncall {number}: {step.name} {step.note}".rstrip(), style="bold cyan"))
        for message in step.messages:
            lines += [Text(f"{message.role}:", style="dim"), Text(message.content)]
        lines += [Text("reply:", style="dim"), Text(step.reply)]
    output = f"{answer.failure.where} failure: {answer.failure.message}" if answer.failure else spell(answer.output)
    lines += [Text("\noutput:    " + output), Text(f"reference: {spell(result.example.reference)}")]
    lines += [Text(f"{name}: {score.value:.3f}  {score.why}") for name, score in result.scores.items()]
    usage = answer.usage
    lines.append(
        Text(
            f"{usage.calls} calls, {usage.prompt_tokens} prompt tokens ({usage.cached_tokens} cached), "
            f"{usage.completion_tokens} new tokens, {money(usage.money)}, {seconds(result.seconds)}",
            style="dim",
        )
    )
    return Group(*lines)


def changes(comparison: Comparison) -> RenderableType:
    """Two runs, rung by rung."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("rung", f"{comparison.metric}: second - first", "n", "now right", "now wrong", "note"):
        table.add_column(title)
    for change in comparison.changes:
        table.add_row(
            Text(change.title),
            escape(difference(change.difference)),
            str(change.difference.n) if change.difference else "",
            Text(names(change.gained)),
            Text(names(change.lost)),
            Text(change.note, style="dim"),
        )
    return Group(Text(headline(comparison.first)), Text(headline(comparison.second)), "", table)


def names(ids: Sequence[str]) -> str:
    return f"{len(ids)}: {', '.join(ids[:3])}{', …' if len(ids) > 3 else ''}" if ids else ""


def short(value: object) -> str:
    text = " ".join(spell(value).split())
    return text if len(text) <= 96 else text[:95] + "…"
