"""``rung config``: every setting, its value, and which file, variable or flag won."""

from __future__ import annotations

from typing import Annotated

import typer


def config(
    key: Annotated[str, typer.Argument(help="Explain this setting only.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every setting, its value, and where it came from."""
    import json as encoder

    from rich.console import Console
    from rich.table import Table

    from rung.core.errors import InputError
    from rung.core.settings import KEYS, Settings

    settings = Settings().explain()
    if key and key not in settings:
        raise InputError(f"unknown setting {key!r}", remedy=f"known: {', '.join(KEYS)}")
    chosen = {name: setting for name, setting in settings.items() if not key or name == key}
    if json:
        document = {name: {"value": s.value, "source": s.source} for name, s in chosen.items()}
        typer.echo(encoder.dumps(document, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("setting", "value", "from", "variable", "what it is"):
        table.add_column(title, no_wrap=title in ("setting", "variable"))
    for name, setting in chosen.items():
        table.add_row(name, str(setting.value), setting.source, KEYS[name].variable, KEYS[name].help)
    Console().print(table)
