"""Runs as tables in a terminal, which fit its width and a file's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from rung.core.codec import spell
from rung.core.text.columns import align
from rung.core.types import Result, text_of
from rung.ladder.history import Comparison
from rung.ladder.records import RungRecord, RunRecord
from rung.ladder.view.numbers import cost, count, difference, money, note, p95, quality, seconds

CHOSEN = "→ "


def table(rows: Sequence[Sequence[str]], right: int | None = None) -> Text:
    """Rows, the titles first, at the width of the terminal; the recommended one stands out."""
    out = Text()
    said = [at for at in range(len(rows[0])) if at == 0 or any(row[at] for row in rows[1:])]
    rows = [[row[at] for at in said] for row in rows]
    blocks = align(rows, right, Console().width).split("\n\n")
    for number, block in enumerate(blocks):
        for line, text in enumerate(block.split("\n")):
            style = "bold" if not line else "bold green" if text.startswith(CHOSEN) else ""
            out.append(("\n\n" if number and not line else "\n" if line else "") + text, style)
    out.no_wrap, out.overflow = True, "ignore"
    return out


def _name(record: RungRecord, run: RunRecord) -> str:
    recommended = run.recommendation.rung if run.recommendation else ""
    return (CHOSEN if record.title == recommended else "  ") + record.title


def qualities(run: RunRecord) -> Text:
    """One row a rung: every metric with its interval, and the paired differences in the first one."""
    rows = [["  rung", *(f"{name} [95%]" for name in run.metrics[:2]), "to the baseline", "to the best", "note"]]
    for record in run.rungs:
        changes = [difference(record.baseline), difference(record.best)] if record.scored else ["", ""]
        figures = [quality(record.metrics.get(name)) for name in run.metrics[:2]]
        rows.append([_name(record, run), *figures, *changes, note(record)])
    return table(rows)


def costs(run: RunRecord) -> Text:
    """One row a rung that was measured: what an answer costs, and what fitting cost."""
    rows = [["  rung", "$/1,000", "CPU", "p50", "p95", "tokens", "cached", "peak MB", "fit", "fit tokens"]]
    payback = any(record.payback is not None for record in run.rungs)
    if payback:
        rows[0].append("pays back after")
    for record in run.rungs:
        if (online := record.online) is None:
            continue
        rows.append(
            [
                _name(record, run),
                cost(online.cost * 1000, online.noise * 1000),
                seconds(online.cpu_seconds),
                seconds(online.p50),
                p95(online),
                count(online.tokens),
                count(online.cached_tokens),
                count(online.peak_mb) if online.peak_mb is not None else "–",
                seconds(record.offline.seconds),
                count(record.offline.usage.tokens),
            ]
        )
        if payback:
            rows[-1].append(f"{count(record.payback)} answers" if record.payback is not None else "")
    return table(rows, 1)


def headline(run: RunRecord) -> str:
    """One line about a run."""
    counts = ", ".join(f"{n} {split}" for split, n in run.counts.items())
    return f"{run.task}  run {run.id}  {run.model or 'no model'}  {counts}  {seconds(run.seconds)}  {run.status}"


def whole(run: RunRecord) -> RenderableType:
    """The table of a run with its recommendation under it."""
    lines: list[RenderableType] = [Text(headline(run), style="bold"), "", qualities(run)]
    if any(record.online is not None for record in run.rungs):
        lines += ["", costs(run)]
    if run.recommendation is not None:
        lines += ["", Text("Recommendation", style="bold"), *sentences(run.recommendation.why)]
    if run.notes:
        lines += ["", *sentences(run.notes)]
    return Group(*lines)


def sentences(texts: Iterable[str]) -> list[RenderableType]:
    return [Text(f"  {text}") for text in texts]


def results_table(results: Sequence[Result], metrics: Sequence[str]) -> Text:
    """One row an example: what came in, what was wanted, what came out, how it scored."""
    rows = [["example", *metrics, "input", "reference", "output"]]
    for result in results:
        failure = result.answer.failure
        rows.append(
            [
                result.example.id,
                *(f"{result.scores[name].value:.2f}" if result.answered else "–" for name in metrics),
                short(text_of(result.example.input)),
                short(result.example.reference),
                f"[{failure.where}] {failure.message}" if failure else short(result.answer.output),
            ]
        )
    return table(rows)


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
    rows = [["rung", f"{comparison.metric}: second - first", "n", "now right", "now wrong", "note"]]
    rows += [
        [
            change.title,
            difference(change.difference),
            str(change.difference.n) if change.difference else "",
            names(change.gained),
            names(change.lost),
            change.note,
        ]
        for change in comparison.changes
    ]
    heads = [Text(headline(run)) for run in (comparison.first, comparison.second)]
    return Group(*heads, *sentences(comparison.notes), "", table(rows))


def names(ids: Sequence[str]) -> str:
    return f"{len(ids)}: {', '.join(ids[:3])}{', …' if len(ids) > 3 else ''}" if ids else ""


def short(value: object) -> str:
    text = " ".join(spell(value).split())
    return text if len(text) <= 96 else text[:95] + "…"
