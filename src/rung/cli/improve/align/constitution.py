"""``rung constitution``: principles in a file, as checks, as a task, as pairs and as a judge."""

from __future__ import annotations

import asyncio
import json as codec
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.base.options import Json, ModelName
from rung.core.settings import Settings
from rung.core.text.columns import align
from rung.models import Pool

if TYPE_CHECKING:
    from rung.alignment.values.constitution import Constitution, Violations
    from rung.metrics.stats import Difference

app = typer.Typer(
    help="Hold a model to written principles: count violations, make a task, preference pairs and a judge of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A constitution.yaml.")]
Tries = Annotated[int, typer.Option(min=1, help="Answers to each probe.")]


async def _answers(constitution: Constitution, model: str | None, tries: int, temperature: float) -> list[list[str]]:
    """For each principle the answers to its probes, probe after probe, ``tries`` rounds."""
    from rung.core.types import Message, Request, Sampling

    settings = Settings({"model": model})
    async with Pool(settings) as pool:
        out = []
        for one in constitution.principles:
            requests = [
                Request((Message("user", probe),), Sampling(temperature, max_tokens=64, seed=turn), repeat=turn)
                for turn in range(tries)
                for probe in one.probes
            ]
            out.append([reply.text for reply in await pool.model().generate(requests)])
        return out


@app.command()
def check(
    file: File,
    model: ModelName = None,
    against: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Ask this one too, and show what changes from it, paired.")
    ] = None,
    tries: Tries = 1,
    json: Json = False,
) -> None:
    """Ask every probe and count violations; exit code 1 where a principle is broken beyond its limit, its whole
    interval."""
    from rung.alignment.values.constitution import compare, judge, read_constitution
    from rung.core.codec import encode

    found, temperature = read_constitution(file), 0.0 if tries == 1 else 0.8
    answers = asyncio.run(_answers(found, model, tries, temperature))
    verdicts = [judge(one, said) for one, said in zip(found.principles, answers, strict=True)]
    changes = []
    if against is not None:
        others = asyncio.run(_answers(found, against, tries, temperature))
        changes = [compare(*three) for three in zip(found.principles, answers, others, strict=True)]
    if json:
        document = {
            "constitution": found.hash,
            "principles": [encode(one) for one in verdicts],
            "changes": encode(changes),
        }
        typer.echo(codec.dumps(document, indent=2, ensure_ascii=False))
    else:
        typer.echo(_table(verdicts, changes))
        for one in verdicts:
            for asked, said, why in one.examples:
                typer.echo(f"  {one.principle}: {asked[:50]!r} -> {said[:60]!r}: {why[:60]}")
    if any(one.broken for one in verdicts):
        raise typer.Exit(1)


def _table(verdicts: Sequence[Violations], changes: Sequence[Difference]) -> str:
    from rung.ladder.view.numbers import change

    rows = [["principle", "severity", "violations", "limit", "answers", "verdict"] + ["change"] * bool(changes)]
    for at, one in enumerate(verdicts):
        rate = f"{one.rate.value:.0%} [{one.rate.low:.0%}, {one.rate.high:.0%}]"
        word = "broken" if one.broken else "kept" if one.kept else "not shown"
        rows.append([one.principle, one.severity, rate, f"{one.limit:.0%}", str(one.answers), word])
        rows[-1] += [change(changes[at])] if changes else []
    return align(rows)


@app.command()
def compile(
    file: File, to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where to write the task.")]
) -> None:
    """Make a task of it, which a climb measures as any other, and the text that a judging model is told."""
    from rung.alignment.values.constitution import compile_task, read_constitution

    task = compile_task(read_constitution(file), to)
    typer.echo(f"{task}: rung climb {task}; the judge is told {to / 'judge.txt'}")


@app.command()
def pairs(
    file: File,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write the pairs (JSON Lines).")],
    model: ModelName = None,
    tries: Tries = 8,
) -> None:
    """Sample answers to the probes, and pair one that keeps the principle with one that breaks it."""
    from rung.alignment.values.constitution import make_pairs, read_constitution
    from rung.core.errors import InputError
    from rung.core.types import Message
    from rung.data.rows import lines
    from rung.data.rows.records import Record

    found = read_constitution(file)
    answers = asyncio.run(_answers(found, model, tries, 0.8))
    made = []
    for one, said in zip(found.principles, answers, strict=True):
        count = len(one.probes)
        made += make_pairs(one, {probe: said[at::count] for at, probe in enumerate(one.probes)})
    if not made:
        raise InputError("all answers to a probe keep it, or all break it", remedy="raise --tries")
    source = {"constitution": found.hash}
    records = [
        Record(
            p.id, (*p.messages, Message("assistant", p.chosen)), rejected=p.rejected, shape="preference", source=source
        )
        for p in made
    ]
    lines.write(to, records)
    typer.echo(f"{len(records)} pairs in {to}: rung align with method: dpo and pairs: {to}")
