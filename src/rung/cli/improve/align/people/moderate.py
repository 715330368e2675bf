"""``rung moderate``: texts against a written policy, with its errors known, and appeals that people rule on."""

from __future__ import annotations

import getpass
import json as codec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rung.cli.base.options import Json, StoreUrl
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.core.text.columns import align
from rung.store import Store, StoredDecision, open_store

if TYPE_CHECKING:
    from rung.alignment.values.moderation import LabelReport

app = typer.Typer(
    help="Moderate texts by a written policy: thresholds for a rate of false positives, a queue, appeals.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A fitted policy.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="A decision's id.")]


def _open(store: str | None) -> Store:
    return open_store(Settings({"store": store}).store_url)


@app.command()
def fit(
    policy: Annotated[Path, typer.Argument(metavar="POLICY", help="A moderation.yaml.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where to write the fitted policy.")],
    rulings: Annotated[bool, typer.Option(help="Learn from what people have ruled, too.")] = True,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Learn a policy, choose its thresholds, and print what they catch and block wrongly on texts held out."""
    from rung.alignment.values.moderation import fit as learn
    from rung.alignment.values.moderation import read_policy
    from rung.core.codec import encode
    from rung.core.system.files import write_file

    with _open(store) as opened:
        ruled = [row for row in opened.decisions.all() if row.ruling] if rulings else []
    moderator, reports = learn(read_policy(policy), ruled)
    moderator.save(to)
    write_file(to / "report.json", codec.dumps([encode(one) for one in reports], indent=1).encode())
    typer.echo(codec.dumps([encode(one) for one in reports], indent=2) if json else tell(reports, len(ruled)))
    typer.echo(f"policy {moderator.key} is in {to}; the whole curves are in {to / 'report.json'}", err=json)


def tell(reports: list[LabelReport], ruled: int) -> str:
    """Reports as text."""
    from rung.alignment.values.moderation import RATES, caught_at
    from rung.ladder.view.numbers import exact

    out = [f"learnt from {ruled} rulings of people, too"] if ruled else []
    for one in reports:
        out += ["", f"{one.label}: {one.harmful} harmful and {one.harmless} harmless texts held out"]
        out.append(f"  area under the curve  {exact(one.area)}")
        points = [f"{caught_at(one.curve, rate):.0%} at {rate:.1%}" for rate in RATES if rate * one.harmless >= 1]
        out.append(f"  caught at a rate of false positives: {', '.join(points)}")
        out.append(f"  blocked above {one.threshold:.3f}: {exact(one.caught)} caught, {exact(one.false)} wrongly")
        out += [f"    {name}: {exact(found)} wrongly" for name, found in one.by_file.items()]
        if one.review < one.threshold:
            shares = f"{one.reviewed[0]:.0%} of the harmful, {one.reviewed[1]:.1%} of the harmless"
            out.append(f"  a person looks above {one.review:.3f}: {shares}")
        out += [f"    wrongly blocked: {text[:90]!r}" for text in one.wrong]
    return "\n".join(out).lstrip("\n")


@app.command()
def check(
    folder: Folder,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="Texts to decide about.")] = None,
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="Texts of a table or .txt.")] = None,
    person: Annotated[str, typer.Option(metavar="NAME", help="Whose texts they are; kept with the decisions.")] = "",
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Decide about texts, and keep each decision with the threshold in force. Exit code 1 where one is blocked."""
    from rung.alignment.values.moderation import Moderator
    from rung.core.codec import encode
    from rung.safety.filter import read_texts

    given = [*(texts or ()), *(read_texts(file) if file else ())]
    if not given or not all(text.strip() for text in given):
        raise InputError("there is no text to decide about", remedy='rung moderate check FOLDER "a text"')
    moderator = Moderator.load(folder)
    with _open(store) as opened:
        rows = [_keep(opened, row) for row in moderator.decide(given, person)]
    typer.echo(codec.dumps([encode(row) for row in rows], indent=2, ensure_ascii=False) if json else _table(rows))
    if any(row.now == "blocked" for row in rows):
        raise typer.Exit(1)


def _keep(store: Store, row: StoredDecision) -> StoredDecision:
    """The decision, or the one that there is about the same text under the same policy."""
    store.decisions.add(row)
    return store.decisions.find(row.id) or row


@app.command()
def queue(
    all: Annotated[bool, typer.Option("--all", help="Every decision, not those that wait alone.")] = False,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """List what waits for a person: texts between the thresholds, and appeals; and how appeals have ended."""
    from rung.core.codec import encode
    from rung.metrics.stats import wilson

    with _open(store) as opened:
        rows = opened.decisions.all()
    shown = [row for row in rows if all or row.waiting]
    if json:
        typer.echo(codec.dumps([encode(row) for row in shown], indent=2, ensure_ascii=False))
        return
    typer.echo(_table(shown) if shown else "nothing waits")
    ended = [row for row in rows if row.appeal and row.ruling]
    if ended:
        rate = wilson(sum(row.ruling != row.verdict for row in ended), len(ended))
        typer.echo(f"of {len(ended)} appeals {rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}] changed the decision")


def _table(rows: list[StoredDecision]) -> str:
    shown = [["id", "verdict", "label", "score", "threshold", "appeal", "ruling", "text"]]
    for row in rows:
        ruling = f"{row.ruling} by {row.by}: {row.why}" if row.ruling else ""
        shown.append([row.id, row.verdict, row.label, f"{row.score:.3f}", f"{row.threshold:.3f}", row.appeal[:40],
                      ruling[:40], " ".join(row.text.split())[:60]])  # fmt: skip
    return align(shown)


@app.command()
def appeal(
    id: Id,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why the decision is wrong; needed.")],
    store: StoreUrl = None,
) -> None:
    """Object to a decision; it waits for a person then."""
    if not reason.strip():
        raise InputError("an appeal needs a reason", remedy="--reason WHY")
    with _open(store) as opened:
        _known(opened, id)
        if not opened.decisions.appeal(id, reason):
            raise InputError(f"somebody has ruled on {id} already", remedy="rung moderate queue --all", code="ruled")
    typer.echo(f"{id} waits for a person: rung moderate queue")


@app.command()
def rule(
    id: Id,
    ruling: Annotated[Literal["allowed", "blocked"], typer.Argument(help="What holds from now on.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; needed.")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who rules (default: the machine's user).")] = "",
    store: StoreUrl = None,
) -> None:
    """Rule on a decision: it holds for this text from now on, and the next fit learns from it."""
    by = by or getpass.getuser()
    if not reason.strip():
        raise InputError("a ruling needs a reason", remedy="--reason WHY")
    with _open(store) as opened:
        row = _known(opened, id)
        if row.person in (by, opened.subjects.mark(by)):
            raise InputError(f"{by} cannot rule on a text of their own", remedy="ask somebody else", code="own")
        if not opened.decisions.rule(id, ruling, by, reason):
            raise InputError(f"somebody has ruled on {id} already", remedy="rung moderate queue --all", code="ruled")
    typer.echo(f"{by}: {id} is {ruling} (it was {row.verdict})")


def _known(store: Store, id: str) -> StoredDecision:
    row = store.decisions.find(id)
    if row is None:
        raise InputError(f"there is no decision {id!r}", remedy="rung moderate queue --all", code="unknown")
    return row
