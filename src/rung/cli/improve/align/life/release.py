"""``rung release``: gates before something is served, who has approved it, and what was waived."""

from __future__ import annotations

import getpass
import json as codec
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.base.options import Json, StoreUrl
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.core.text.columns import align
from rung.store import Store, open_store

if TYPE_CHECKING:
    from rung.alignment.values.release import Clearance

app = typer.Typer(
    help="Check what is to be released against written guidelines; approve it, or waive a gate until a day.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

What = Annotated[Path, typer.Argument(metavar="PATH", help="Weights, or the folder of a program.")]
Rules = Annotated[Path, typer.Option("--guidelines", metavar="FILE", help="The gates.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who says so (default: the user of this machine).")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why.")]
RULES = Path("release.yaml")


def _open(store: str | None) -> Store:
    return open_store(Settings({"store": store}).store_url)


@app.command()
def check(path: What, guidelines: Rules = RULES, json: Json = False, store: StoreUrl = None) -> None:
    """Say whether something may be released; exit code 1 where it may not. Waived gates stay in what is printed."""
    from rung.alignment.values.release import check as measure
    from rung.alignment.values.release import read_guidelines
    from rung.core.codec import encode

    with _open(store) as opened:
        found = measure(read_guidelines(guidelines), path, opened)
    typer.echo(codec.dumps({**encode(found), "allowed": found.allowed}, indent=2) if json else tell(found))
    if not found.allowed:
        raise typer.Exit(1)


def tell(found: Clearance) -> str:
    """A clearance as text."""
    rows = [["gate", "verdict", "why"]]
    rows += [
        [one.gate, "passed" if one.ok else "waived" if one.waived else "failed", one.waived or one.why]
        for one in found.gates
    ]
    approved = ", ".join(found.approved) or "nobody"
    lines = [
        f"artifact {found.artifact}",
        *(["", align(rows), ""] if found.gates else []),
        f"approved by {approved}; {found.needed} needed",
    ]
    return "\n".join([*lines, "may be released" if found.allowed else "may not be released"])


@app.command()
def approve(path: What, guidelines: Rules = RULES, by: By = "", reason: Reason = "", store: StoreUrl = None) -> None:
    """Approve something as it is now: by its content, not by its path."""
    from rung.alignment.values.release import approve as sign
    from rung.alignment.values.release import read_guidelines

    with _open(store) as opened:
        row = sign(read_guidelines(guidelines), path, opened, by or getpass.getuser(), reason)
    typer.echo(f"{row.person} approves {row.artifact} (entry {row.chain[:12]})")


@app.command()
def waive(
    path: What,
    gate: Annotated[str, typer.Argument(metavar="GATE", help="The gate that may fail.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; needed.")],
    until: Annotated[str, typer.Option(metavar="DATE", help="The day on which the waiver ends, such as 2027-01-31.")],
    guidelines: Rules = RULES,
    by: By = "",
) -> None:
    """Let a failing gate be until a day; it stays in every manifest."""
    from rung.alignment.values.release import read_guidelines
    from rung.alignment.values.release import waive as sign

    try:
        day = datetime.fromisoformat(until).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InputError(f"got --until {until!r}", remedy="expected a day such as 2027-01-31") from None
    with _open(None) as opened:
        row = sign(read_guidelines(guidelines), path, opened, gate, (by or getpass.getuser(), reason, day))
    typer.echo(f"{row.person} waives {row.gate} of {row.artifact} until {until}: {row.reason}")


@app.command()
def revoke(path: What, by: By = "", reason: Reason = "", store: StoreUrl = None) -> None:
    """Take an approval of one's own back."""
    from rung.alignment.values.release import artifact_hash
    from rung.store import StoredApproval

    with _open(store) as opened:
        row = opened.approvals.add(StoredApproval(artifact_hash(path), "revoke", by or getpass.getuser(), reason))
    typer.echo(f"{row.person} no longer approves {row.artifact}")


@app.command()
def log(json: Json = False, store: StoreUrl = None) -> None:
    """Show the ledger of approvals and waivers; it is checked to be as it was written."""
    from rung.core.codec import encode

    with _open(store) as opened:
        rows = opened.approvals.all()
    if json:
        typer.echo(codec.dumps([encode(row) for row in rows], indent=2, ensure_ascii=False))
        return
    shown = [["when", "who", "what", "gate", "artifact", "why"]]
    for row in rows:
        when = datetime.fromtimestamp(row.created).astimezone().strftime("%Y-%m-%d %H:%M")
        shown.append([when, row.person, row.verdict, row.gate, row.artifact[:12], row.reason])
    typer.echo(align(shown) if rows else "nothing was approved yet")
