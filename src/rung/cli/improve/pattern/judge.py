"""Patterns that judge a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.options import ModelName
from rung.cli.improve.pattern.shared import Rubric, Text, read_file, read_text, work_with
from rung.core.errors import InputError, ModelError
from rung.ladder.view.numbers import exact
from rung.models import Pool
from rung.prompts.patterns.checking import verify as verifying
from rung.prompts.patterns.judging import grade as grading
from rung.safety import filter as filtering


def verify(
    text: Text = "",
    source: Annotated[Path | None, typer.Option("--source", metavar="FILE", help="What it must agree with.")] = None,
    model: ModelName = None,
    planted: Annotated[bool, typer.Option("--planted", help="Plant false claims in the source and measure.")] = False,
) -> None:
    """Split a text into claims and hold each against a source, with the evidence; exit code 1 when one does not
    hold."""
    if source is None:
        raise InputError("there is no source", remedy='type: rung pattern verify -i "..." --source FILE')
    against = read_file(source)
    claims = "" if planted else read_text(text)

    async def work(pool: Pool) -> None:
        if planted:
            found = await verifying.detect(pool.model(), against, verifying.plant(against))
            typer.echo(f"{found.claims} claims, {found.false} planted false, {found.flagged} flagged")
            typer.echo(f"precision {exact(found.precision) if found.precision else 'undefined: nothing was flagged'}")
            recall = exact(found.recall) if found.recall else "undefined: nothing false could be planted"
            typer.echo(f"recall    {recall}")
            return
        verdict = await verifying.verify(pool.model(), claims, against)
        for item in verdict.findings:
            typer.echo(f"{item.verdict}: {item.claim}\n  {item.why}")
            if item.evidence is not None:
                typer.echo(f"  [{item.evidence.start}:{item.evidence.end}] {item.evidence.text}")
        if not verdict.holds:
            raise typer.Exit(1)

    work_with(model, work)


def grade(
    text: Text,
    assignment: Annotated[str, typer.Option("-p", "--prompt", metavar="TEXT", help="What was to be done.")],
    rubric: Rubric = "helpfulness",
    model: ModelName = None,
) -> None:
    """Grade a work by a rubric, 1 to 5 for each criterion, with feedback."""
    graded = read_text(text)

    async def work(pool: Pool) -> None:
        found = await grading.grade(pool.model(), rubric, assignment, graded)
        if found.grade is None:
            raise ModelError(found.failure, remedy="use another model: -m PROVIDER:NAME")
        typer.echo(f"grade {found.grade:.1f} of {grading.GRADES}")
        for item in found.remarks:
            typer.echo(f"  {item.criterion} {item.grade:.1f}: {item.feedback}")

    work_with(model, work)


def filter_text(
    text: Text = "",
    harmless: Annotated[
        Path | None, typer.Option("--harmless", metavar="PATH", help="Measure: harmless texts.")
    ] = None,
    harmful: Annotated[Path | None, typer.Option("--harmful", metavar="PATH", help="Measure: harmful texts.")] = None,
    column: Annotated[str, typer.Option(help="The field of the texts, where rows have several.")] = "",
    words: Annotated[str, typer.Option(help="Block these words, with commas between, in place of the rules.")] = "",
    train: Annotated[
        bool, typer.Option("--train", help="Train on every other text of both, measure on the rest.")
    ] = False,
) -> None:
    """Check a text with the content filter (exit code 1: blocked), or measure how often the filter is wrong."""
    own: filtering.Filter = filtering.RuleFilter(words=[word.strip() for word in words.split(",") if word.strip()])
    if harmless is None and harmful is None:
        verdict = own(read_text(text))
        typer.echo(f"blocked ({verdict.why})" if verdict.blocked else "passed")
        raise typer.Exit(1 if verdict.blocked else 0)
    fine = filtering.read_texts(harmless, column) if harmless is not None else []
    bad = filtering.read_texts(harmful, column) if harmful is not None else []
    if train:
        if not fine or not bad:
            raise InputError("a filter is trained on both kinds", remedy="give --harmless PATH --harmful PATH")
        own = filtering.TrainedFilter.fit(bad[::2], fine[::2])
        fine, bad = fine[1::2], bad[1::2]
    found = filtering.measure(own, fine, bad)
    if found.false_positives is not None:
        typer.echo(f"false positives {exact(found.false_positives)} of {found.harmless} harmless texts")
    if found.caught is not None:
        typer.echo(f"caught          {exact(found.caught)} of {found.harmful} harmful texts")
    for one, why in found.wrong:
        typer.echo(f"  wrongly blocked ({why}): {one[:100]!r}")
