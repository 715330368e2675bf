"""``rung adapters``: what an adapter is, and one adapter out of several of the same base."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rung.models.adapters.compose import Adapter

app = typer.Typer(help="Adapters: look at one, merge or stack several of one base.", rich_markup_mode=None)


class How(StrEnum):
    """How adapters are added up."""

    cat = "cat"
    linear = "linear"


Folders = Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Adapters of one base.")]
Place = Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A new folder for the result.")]


@app.command("show")
def show(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An adapter.")]) -> None:
    """Show what an adapter is, which base it belongs to, and how it is used."""
    from rung.core.settings import Settings
    from rung.models.adapters import adapters
    from rung.models.adapters.compose import read

    adapter = read(folder)
    _tell(adapter)
    typer.echo(f"SHA-256     {next(iter(adapters.fingerprint(folder).values()))}")
    place = adapters.base_of(folder, Settings().cache)
    typer.echo(f"base here   {place}")
    typer.echo(f"use it      -m transformers:{folder} (any verb that asks a model)")
    if adapter.kind == "LORA" and not adapter.config.get("use_dora"):
        typer.echo(f"            rung serve -m openvino:{adapter.base} --adapter NAME={folder}")


@app.command("merge")
def merge(
    folders: Folders,
    to: Place,
    weights: Annotated[
        str, typer.Option(metavar="W,W,...", help="A number for each adapter. By default the mean of all.")
    ] = "",
    how: Annotated[
        How,
        typer.Option(
            help="cat: the exact weighted sum, ranks (or widths) add up; linear: the matrices themselves are added, the rank stays."
        ),
    ] = How.cat,
) -> None:
    """Merge several LoRA (or several bottleneck) adapters of one base into one: the weighted sum of what they do."""
    from rung.core.errors import InputError
    from rung.models.adapters import compose

    try:
        shares = [float(part) for part in weights.split(",")] if weights else []
    except ValueError:
        raise InputError(
            f"got --weights {weights}, expected numbers with commas between", remedy="for example: --weights 0.5,0.5"
        ) from None
    _tell(compose.merge(folders, shares, how.value, to))


@app.command("stack")
def stack(folders: Folders, to: Place) -> None:
    """Stack several bottleneck adapters of one base into one: in each layer one behind the other, as given."""
    from rung.models.adapters import compose

    _tell(compose.stack(folders, to))


def _tell(adapter: Adapter) -> None:
    config = adapter.config
    said = adapter.kind.lower().replace("_", " ")
    if adapter.kind == "LORA":
        said = (
            f"{'DoRA' if config.get('use_dora') else 'LoRA'}, rank {config['r']}, scaling {adapter.scaling:g}, "
            f"on {', '.join(config.get('target_modules') or ())}"
        )
    elif "widths" in config:
        said += ", " + " then ".join(f"{name} (width {width})" for name, width in config["widths"].items())
    elif "num_virtual_tokens" in config:
        said += f", {config['num_virtual_tokens']} virtual tokens"
    typer.echo(f"adapter     {adapter.folder}")
    typer.echo(f"kind        {said}")
    typer.echo(f"parameters  {adapter.parameters:,}")
    typer.echo(f"base        {adapter.base}" + (f" (SHA-256 {adapter.key[:12]}...)" if adapter.key else ""))
