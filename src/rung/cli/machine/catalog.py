"""``rung catalog``: the techniques, what each is good for, and one example of each that runs here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rung.ladder.view.catalog import Figure, Technique

app = typer.Typer(help="Techniques: what each is, when it helps, its cost, what was measured.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def catalog(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_entries()


@app.command("list")
def list_entries() -> None:
    """List the techniques that run today, by section."""
    from rung.ladder.view.catalog import entries, sections

    width = max(len(entry.name) for entry in entries())
    for section, own in sections():
        typer.echo(f"{section}")
        for entry in own:
            typer.echo(f"  {entry.name:<{width}}  {entry.title}")
        typer.echo()
    typer.echo("One of them, with an example that runs: rung catalog show NAME")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A technique, or one of its rungs.")],
    run: Annotated[bool, typer.Option("--run/--no-run", help="Run the example.")] = True,
    model: Annotated[
        str, typer.Option("-m", "--model", metavar="MODEL", help="Model of the example, as provider:name.")
    ] = "openvino:smollm2-135m",
    store: Annotated[str | None, typer.Option(help="Store URL (sqlite:///FILE, postgresql://...).")] = None,
) -> None:
    """Show what a technique is, when it helps, its cost, what was measured; then its example, run."""
    from rung.core.settings import Settings
    from rung.ladder.view.catalog import find, latest, summaries
    from rung.store import open_store

    entry = find(name)
    url = Settings({"store": store}).store_url
    own = []
    # A look at the catalogue makes no store.
    if entry.rungs and (not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()):
        with open_store(url) as opened:
            own = latest(entry, opened)
    typer.echo(f"{entry.title}  ({entry.name}; {entry.section})\n")
    _paragraph(entry.what)
    for word, text in (("Helps", entry.helps), ("Costs", entry.cost)):
        if text:
            typer.echo()
            _paragraph(f"{word}: {text}")
    if entry.rungs:
        typer.echo("\nRungs:")
        for names, line in summaries(entry).items():
            _paragraph(f"{names}: {line}", "  ")
    _figures(entry, own)
    if entry.rungs and not own and not any(command.startswith("rung climb") for command in entry.use):
        typer.echo(f"\nMeasure it on your data: rung climb TASK --rung zero-shot --rung {entry.rungs[0]}")
    if entry.use:
        typer.echo("\nUse it:")
        for command in entry.use:
            typer.echo(f"  {command}")
    if entry.example is not None:
        typer.echo()
        _example(entry, model, run)


def _figures(entry: Technique, own: Sequence[Figure]) -> None:
    """What was measured: in the user's store, then by the project."""
    from rung.ladder.view.catalog import measured, published

    if own:
        typer.echo("\nMeasured here, each rung's latest run in your store:")
        for row in own:
            _paragraph(f"{row.sentence()} (run {row.run.id}, {row.run.created[:10]}, {row.run.model})", "  ")
    if rows := measured(entry, published()):
        typer.echo("\nMeasured by the project (docs/results):")
        for row in rows:
            _paragraph(f"{row.sentence()} ({row.run.created[:10]}, {row.run.model})", "  ")
    if entry.results:
        typer.echo(f"\nMore figures: docs/results, {', '.join(entry.results)}")


@app.command("page")
def page(file: Annotated[Path, typer.Argument(help="The Markdown file to write: docs/catalog.md.")]) -> None:
    """Write the catalogue as a Markdown page."""
    from rung.core.errors import InputError
    from rung.ladder.view.catalog import entries
    from rung.ladder.view.catalog import page as whole

    try:
        file.write_text(whole(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write it: {error.strerror}", file=file, remedy="name a file") from None
    typer.echo(f"{file}: {len(entries())} techniques")


def _paragraph(text: str, indent: str = "") -> None:
    from textwrap import fill

    typer.echo(fill(" ".join(text.split()), 100, initial_indent=indent, subsequent_indent=indent + "  " * bool(indent)))


def _example(entry: Technique, model: str, run: bool) -> None:
    """Print the example's commands, and run them in a folder of their own, which leaves nothing behind."""
    from rung.cli.main import app as verbs
    from rung.core.errors import RungError
    from rung.core.settings import Settings
    from rung.models import hub

    assert entry.example is not None
    provider, _, weights = model.partition(":")
    local = provider == "openvino" and weights in hub.CATALOGUE
    absent = entry.example.model and local and not hub.present(weights, Settings().cache)
    typer.echo("Example:" if run and not absent else "Example, not run:")
    if not run or absent:
        for file in entry.example.files:
            typer.echo(f"  (with a file {file}, which the example brings)")
        for command in entry.example.commands:
            typer.echo(f"  {command}")
    if run and absent:
        typer.echo(f"\nThe weights of {weights} are not on this machine. Type: rung models pull {weights}")
    if not run or absent:
        return
    with _folder(entry.example.files, model):
        for command, words in zip(entry.example.commands, entry.example.words(), strict=True):
            typer.echo(f"\n$ {command}")
            try:
                verbs(args=words, standalone_mode=False)
            except RungError as error:
                typer.echo(f"rung: {error}", err=True)
                raise typer.Exit(error.exit_code) from None


@contextmanager
def _folder(content: Mapping[str, str], model: str) -> Iterator[None]:
    """An empty folder with some files as the current one, a store inside it, and ``model`` as the default."""
    import os
    from contextlib import chdir
    from tempfile import TemporaryDirectory

    from rung.core.settings import Settings

    fixed = {
        "RUNG_MODEL": model,
        "RUNG_STORE": "",
        "RUNG_HOME": ".rung",
        "RUNG_CACHE": str(Settings().cache.absolute()),
    }
    before = {name: os.environ.get(name) for name in fixed}
    with TemporaryDirectory(prefix="rung-") as folder:
        for name, text in content.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        try:
            os.environ.update(fixed)
            with chdir(folder):
                yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value
