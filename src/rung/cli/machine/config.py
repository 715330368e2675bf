"""``rung config``: every setting, its value, and which file, variable or flag won."""

from __future__ import annotations

import json as encoder
import re
from typing import Annotated, Any

import typer

from rung.cli.base.options import Json, assigned
from rung.core.text.columns import align

app = typer.Typer(
    help="Show every setting, its value, and where it came from.", invoke_without_command=True, rich_markup_mode=None
)


@app.callback()
def config(context: typer.Context, json: Json = False) -> None:
    """Show every setting, its value, and where it came from."""
    if context.invoked_subcommand is not None:
        return
    from rung.core.settings import KEYS, Settings

    settings = Settings().explain()
    if json:
        shown = {name: {"value": _shown(one.value), "source": one.source} for name, one in settings.items()}
        typer.echo(encoder.dumps(shown, indent=2))
        return
    rows = [["setting", "value", "from", "variable", "what it is"]]
    for name, one in settings.items():
        rows.append([name, _shown(one.value), one.source, KEYS[name].variable, KEYS[name].help])
    typer.echo(align(rows))


@app.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="[SETTING]", help="This one only.")] = "",
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="As if a flag gave it; may be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    """Say for every setting which flag, variable or file won, and over what."""
    from rung.core.errors import InputError
    from rung.core.parts.problem import nearest
    from rung.core.settings import KEYS, Settings

    flags = assigned(sets or ())
    for name in [*flags, *([key] if key else [])]:
        if name not in KEYS:
            raise InputError(f"unknown setting {name!r}", remedy=nearest(name, KEYS), code="no-setting")
    chosen = {name: one for name, one in Settings(flags).explain().items() if key in ("", name)}
    if json:
        layers = {
            name: [{"source": source, "value": _shown(value)} for source, value in one.layers]
            for name, one in chosen.items()
        }
        typer.echo(encoder.dumps(layers, indent=2))
        return
    rows = [["setting", "", "value", "from"]]
    for name, one in chosen.items():
        for at, (source, value) in enumerate(one.layers):
            rows.append([name if not at else "", "won" if not at else "over", _shown(value), source])
    typer.echo(align(rows))
    if key:
        typer.echo(f"{KEYS[key].help}; variable: {KEYS[key].variable}")


def _shown(value: Any) -> str:
    """A value as text; the password of an address is not shown."""
    return re.sub(r"(://[^:/@\s]*):[^@/\s]+@", r"\1:...@", str(value))
