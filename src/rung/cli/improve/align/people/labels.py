"""``rung reward label`` and ``answer``: a reward that is learnt with people, who are asked what the model is least sure
of."""

from __future__ import annotations

import asyncio
import json as codec
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.base.options import Json, expand
from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.core.settings import Settings
from rung.core.text.columns import align
from rung.models import Pool

if TYPE_CHECKING:
    from rung.alignment.rewards.labelling import Labelling
    from rung.alignment.rewards.pairs import AnswerPair


@dataclass(frozen=True)
class LabelRounds:
    """How people are asked."""

    ask: int = option(20, "Questions in a round.", low=1)
    rounds: int = option(5, "Rounds of questions.", low=1)
    embedder: str = option("static", "What answers are seen by.")
    seed: int = option(0, "Seed of every random choice.")
    rehearse: bool = option(
        False, "Take the file's own order as the labels, and compare with questions at random.", flags=("--rehearse",)
    )


@expand
def label(
    pool: Annotated[list[Path], typer.Argument(metavar="PAIRS...", help="Pairs of answers, in any order.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where the run is kept.")],
    how: LabelRounds,
    json: Json = False,
) -> None:
    """Learn a reward from labels that are asked for, round by round: the pairs on which models disagree come first.

    The same command goes on once the questions are answered (rung reward answer FOLDER). Exit code 1 while it waits.
    """
    from rung.alignment.rewards.labelling import PAIRS, Labelling, advance, open_labelling
    from rung.alignment.rewards.pairs import sift_pairs

    sifted, settings = sift_pairs(pool), Settings()
    pairs = sifted.pairs
    if sifted.left:
        typer.echo(sifted.why, err=True)
    opened = Pool(settings)
    try:
        if how.rehearse:
            _rehearse(pairs, Labelling(to, how.ask, how.rounds, how.seed), opened, (how.embedder, json))
            return
        run = advance(
            open_labelling(to, pairs, Labelling(to, how.ask, how.rounds, how.seed)), opened.embedder(how.embedder)
        )
    finally:
        asyncio.run(opened.close())
    if run.open:
        typer.echo(
            f"waiting for {len(run.open)} labels, round {len(run.asked)} of {run.rounds}: rung reward answer {to}"
        )
        raise typer.Exit(1)
    run.write_pairs()
    typer.echo(f"{len(run.labelled())} labelled pairs are in {to / PAIRS}: rung reward fit {to / PAIRS} --to FOLDER")


def _rehearse(pairs: list[AnswerPair], run: Labelling, pool: Pool, how: tuple[str, bool]) -> None:
    from rung.alignment.rewards.labelling import embedder_sides, rehearse
    from rung.alignment.rewards.pairs import divide
    from rung.core.codec import encode
    from rung.ladder.view.numbers import exact

    rest, held = divide(pairs, 0.3, run.seed)
    if len(rest) < run.ask * run.rounds:
        raise InputError(
            f"{len(rest)} pairs are too few for {run.ask * run.rounds} labels", remedy="--ask 10 --rounds 3"
        )
    embedder = pool.embedder(how[0])
    points = rehearse(embedder_sides(embedder, rest), embedder_sides(embedder, held), run)
    if how[1]:
        typer.echo(codec.dumps([encode(point) for point in points], indent=2))
        return
    rows = [["labels", "by disagreement", "at random", "difference"]]
    rows += [[str(p.labels), f"{p.chosen:.3f}", f"{p.random:.3f}", exact(p.gain)] for p in points]
    typer.echo(f"accuracy on {len(held)} held-out pairs, means of 20 repetitions\n\n{align(rows)}")


def answer(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run of rung reward label.")],
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answers of a table: id, better (one, other, tie).")
    ] = None,
) -> None:
    """Answer the open questions: 1 for the first answer, 2 for the second, = for neither; each is kept at once."""
    from rung.alignment.rewards.labelling import QUESTIONS, STATE, Labelling, Question
    from rung.core.codec import decode
    from rung.documents.tables import rows as tables

    try:
        said = codec.loads((folder / STATE).read_text(encoding="utf-8"))
        text = (folder / QUESTIONS).read_text(encoding="utf-8")
        questions = [decode(Question, codec.loads(line)) for line in text.split("\n") if line]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder} asks nothing: {error}", remedy="rung reward label PAIRS --to FOLDER") from None
    run = Labelling(folder, asked=tuple(tuple(ids) for ids in said["asked"]))
    known = run.labels
    if file is not None:
        for row in tables.rows(file):
            run.answer(str(row.values.get("id")), str(row.values.get("better")))
    for one in questions if file is None else ():
        if one.id in known:
            continue
        typer.echo(f"\n{one.asked}\n\n1: {one.one}\n\n2: {one.other}")
        run.answer(one.id, {"1": "one", "2": "other", "=": "tie"}[_press()])
    left = sum(one.id not in run.labels for one in questions)
    typer.echo(f"{left} questions are open" if left else "all are answered: type the same rung reward label again")


def _press() -> str:
    while (said := str(typer.prompt("better (1, 2, =)")).strip()) not in ("1", "2", "="):
        typer.echo("type 1, 2 or =")
    return said
