"""``rung keys``: API keys of a gateway: made, listed, rotated, revoked. Only their hashes are kept."""

from __future__ import annotations

import time
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rung.cli.base.options import StoreUrl, expand
from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.core.settings import Settings

if TYPE_CHECKING:
    from rung.store import Store, StoredKey

app = typer.Typer(
    help="Make, list, rotate and revoke API keys; only their hashes are kept.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="A key's id (the first word after rung_), or its beginning.")]


@dataclass(frozen=True)
class NewKey:
    """What a new key may do."""

    tenant: str = option(MISSING, "Whose key it is.")
    role: str = option("developer", "admin, operator, developer, caller or auditor.")
    models: tuple[str, ...] = option((), "A model it may ask (NAME or BEGINNING*); may be repeated.")
    budget: tuple[str, ...] = option((), "US dollars it may spend, such as 5/day.", metavar="AMOUNT")
    tokens: tuple[str, ...] = option((), "Tokens it may use, such as 100k/minute.", metavar="AMOUNT")
    requests: tuple[str, ...] = option((), "Requests it may make, such as 60/minute.", metavar="AMOUNT")
    expires: str = option("", "How long it is valid, such as 90d.", metavar="SPAN")
    note: str = option("", "What it is for.")


@app.command()
@expand
def new(key: NewKey, store: StoreUrl = None) -> None:
    """Make a key; it is shown once."""
    from rung.serving.access.issue import Scope, issue, limits_of
    from rung.serving.access.limit import read_seconds

    given = {"money": key.budget, "tokens": key.tokens, "requests": key.requests}
    scope = Scope(key.models, limits_of(given))
    until = time.time() + read_seconds(key.expires) if key.expires else None
    with _open(store) as opened:
        secret, kept = issue(opened, key.tenant, key.role, scope, until, key.note)
    typer.echo(f"the key {kept.id} of {kept.tenant} ({kept.role}), shown only now:", err=True)
    typer.echo(secret)


@app.command("list")
def list_(
    tenant: Annotated[str, typer.Option(help="Of this tenant alone.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    store: StoreUrl = None,
) -> None:
    """List keys: whose they are, what they may do, and what they have used of it."""
    import json as encoder

    with _open(store) as opened:
        rows = [_row(opened, key) for key in opened.keys.all(tenant)]
    if json:
        typer.echo(encoder.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        typer.echo("there are no keys; make one: rung keys new --tenant NAME")
    for row in rows:
        uses = "; ".join(f"{one['used']:.6g} of {one['limit']} {one['unit']}" for one in row["limits"])
        asks = ", ".join(row["models"]) or "all models"
        typer.echo(
            f"{row['id']}  {row['tenant']:<16} {row['role']:<9} {row['state']:<22} {asks}{'; ' if uses else ''}{uses}"
        )


@app.command()
def rotate(
    key: KeyId,
    overlap: Annotated[str, typer.Option(help="How long the old key stays valid beside the new one.")] = "24h",
    store: StoreUrl = None,
) -> None:
    """Make a key in the place of another one; both are valid for a while."""
    from rung.serving.access.issue import rotate as make
    from rung.serving.access.limit import read_seconds

    with _open(store) as opened:
        old = _find(opened, key)
        made, kept = make(opened, old, read_seconds(overlap))
    typer.echo(f"the key {kept.id} in the place of {old.id}, which ends in {overlap}; shown only now:", err=True)
    typer.echo(made)


@app.command()
def revoke(key: KeyId, store: StoreUrl = None) -> None:
    """End a key: servers refuse it within two seconds."""
    with _open(store) as opened:
        found = _find(opened, key)
        opened.keys.revoke(found.id)
    typer.echo(f"the key {found.id} of {found.tenant} is revoked; servers refuse it within two seconds")


def _open(store: str | None) -> Store:
    from rung.store import open_store

    return open_store(Settings({"store": store}).store_url)


def _find(store: Store, beginning: str) -> StoredKey:
    id = beginning.removeprefix("rung_").partition("_")[0]
    found = store.keys.find(id) if id else None
    if found is None:
        raise InputError(f"there is no key {id!r}", remedy="see: rung keys list", code="no-key")
    return found


def _row(store: Store, key: StoredKey) -> dict[str, Any]:
    from rung.serving.access.issue import Scope
    from rung.serving.access.limit import UNITS

    now, scope = time.time(), Scope.read(key.scope)
    names = {limit: f"key/{key.id}:{limit.unit}:{limit.period}" for limit in scope.limits}
    used = store.spending.used(list(names.values())) if names else {}
    state = "valid"
    if key.revoked is not None:
        state = "revoked" if not key.valid(now) else f"ends in {_span(key.revoked - now)}"
    elif key.expires is not None:
        state = "expired" if key.expires <= now else f"expires in {_span(key.expires - now)}"
    limits = [
        {
            "unit": UNITS[limit.unit],
            "limit": str(limit),
            "used": used.get((name, int(now // limit.period * limit.period) if limit.period else 0), 0.0),
        }
        for limit, name in names.items()
    ]
    return {"id": key.id, "tenant": key.tenant, "role": key.role, "state": state, "models": list(scope.models),
            "limits": limits, "note": key.note, "replaces": key.replaces, "created": key.created}  # fmt: skip


def _span(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
