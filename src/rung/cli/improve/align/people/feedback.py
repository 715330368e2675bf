"""``rung feedback``: what people said and did about served answers, and what may be learnt from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.base.options import StoreUrl
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.core.text.columns import align
from rung.store import Store, open_store

if TYPE_CHECKING:
    from rung.alignment.rewards.pairs import AnswerPair

app = typer.Typer(
    help="Bring in, read and delete feedback on served answers; make preference pairs of it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Person = Annotated[str, typer.Option(metavar="NAME", help="Of this person alone.")]


def check_said(pairs: Sequence[AnswerPair], settings: Settings) -> None:
    """Before pairs are learnt from: raises InputError where what people said of their answers was deleted since."""
    from rung.alignment.people.feedback import demand_said

    if traces := {trace for pair in pairs for trace in pair.traces}:
        with open_store(settings.store_url) as store:
            demand_said(store, traces)


def _open(store: str | None) -> Store:
    return open_store(Settings({"store": store}).store_url)


@app.command()
def add(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A table with the columns id, kind, value, text, person.")
    ],
    store: StoreUrl = None,
) -> None:
    """Bring in ratings, edits, demonstrations, survey answers and behaviour from a file."""
    from rung.alignment.people import feedback
    from rung.core.parts.problem import Problems

    problems = Problems()
    with _open(store) as opened:
        kept = feedback.add(opened, file, problems)
    typer.echo(f"{kept} kept, {problems.counts['error']} refused")
    for problem in problems.close():
        typer.echo(str(problem), err=True)
    if problems.failed:
        raise typer.Exit(1)


@app.command(name="list")
def show(person: Person = "", store: StoreUrl = None) -> None:
    """List feedback, oldest first."""
    from rung.alignment.people.feedback import said_by

    with _open(store) as opened:
        rows = said_by(opened, person)
    shown = [["answer", "kind", "value", "person", "text"]]
    shown += [[row.answer, row.kind, f"{row.value:g}", row.person, row.text[:60]] for row in rows]
    typer.echo(align(shown) if rows else "there is no feedback yet")


@app.command()
def delete(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="Whose feedback goes, all of it.")],
    store: StoreUrl = None,
) -> None:
    """Delete what one person said and did, from the file's free pages too."""
    with _open(store) as opened:
        gone = opened.signals.forget(person, opened.subjects.mark(person)) if person.strip() else 0
    typer.echo(
        f"{gone} rows of {person} are deleted; models that were aligned to them stay as they are: rung data status"
    )
    if not gone:
        raise typer.Exit(1)


@app.command()
def pairs(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write the pairs (JSON Lines).")],
    person: Person = "",
    store: StoreUrl = None,
) -> None:
    """Make preference pairs: a correction over its answer, and the better rated of two answers to the same messages."""
    from rung.alignment.people import feedback

    with _open(store) as opened:
        found = feedback.pairs(opened, person=person)
        people = {row.person for row in feedback.said_by(opened, person) if row.kind in feedback.EXPLICIT}
    feedback.write(found, to)
    typer.echo(f"{len(found)} pairs, each with the ids of its answers, in {to}: rung align with pairs: {to}")
    if len(people) == 1 and not person:
        who = next(iter(people))
        what = (
            f"all of it was said by {who}: one person's taste"
            if who
            else "nobody is named: it may be one person's taste"
        )
        typer.echo(what, err=True)


@app.command()
def review(
    answer: Annotated[str, typer.Argument(metavar="ANSWER", help="The id of a served answer.")],
    by: Annotated[str, typer.Option(metavar="NAME", help="Who looked at it.")],
    consent: Annotated[
        bool | None, typer.Option("--consent/--no-consent", help="Whether it may be learnt from.")
    ] = None,
    score: Annotated[float | None, typer.Option(min=0, max=1, help="How good it is.")] = None,
    correction: Annotated[str, typer.Option(metavar="TEXT", help="What would have been right.")] = "",
    store: StoreUrl = None,
) -> None:
    """Note who looked at an answer and whether it may be learnt from; training rows made of it say both."""
    from rung.alignment.people import feedback

    if not by.strip():
        raise InputError("nobody is named", remedy="type: --by NAME", code="no-reviewer")
    with _open(store) as opened:
        feedback.review(opened, answer, by, consent=consent, score=score, correction=correction)
    typer.echo(f"{answer} was reviewed by {by}")


@app.command()
def signals(store: StoreUrl = None) -> None:
    """Measure how far behaviour agrees with ratings: only what is earned may be learnt from."""
    from rung.alignment.people.implicit import measure
    from rung.ladder.view.numbers import exact

    with _open(store) as opened:
        found = measure(opened.signals.all())
    if not found:
        raise InputError("no behaviour was logged", remedy="send it with POST /v1/feedback, or rung feedback add FILE")
    rows = [["kind", "rated answers", "agreement (Spearman)", "verdict"]]
    rows += [
        [one.kind, str(one.answers), "–" if one.agreement is None else exact(one.agreement), one.why] for one in found
    ]
    typer.echo(align(rows))


@app.command()
def survey(store: StoreUrl = None) -> None:
    """Show what a one-question survey says, and how those who answered differ from those who did not."""
    from rung.alignment.people.implicit import survey as read
    from rung.ladder.view.numbers import exact, pvalue

    with _open(store) as opened:
        found = read(opened.signals.all())
    typer.echo(
        f"shown {found.shown} times, answered {found.answered}: {exact(found.rate)}; mean answer {found.mean:.3f}"
    )
    if found.traits:
        rows = [["behaviour", "answered", "did not", "p"]]
        rows += [[kind, f"{mine:.3f}", f"{theirs:.3f}", pvalue(p)] for kind, mine, theirs, p in found.traits]
        typer.echo(align(rows))
    said = (
        "Those who answered differ from the others: the mean is not everybody's."
        if found.biased
        else "No bias is shown."
    )
    typer.echo(said)
