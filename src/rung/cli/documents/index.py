"""``rung index``: collections of documents made, listed, checked and dropped."""

from __future__ import annotations

import json as encoder
import sys
from contextlib import suppress
from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from rung import documents
from rung.cli.base.options import expand
from rung.core.codec import encode
from rung.core.errors import InputError, RungError
from rung.core.parts.option import argument, option
from rung.core.settings import Settings
from rung.core.system.extras import require
from rung.core.text.columns import align, records
from rung.core.types import Progress
from rung.retrieval.collection.collection import Collection
from rung.retrieval.collection.folders import find, locate, names
from rung.retrieval.collection.ingest.build import BuildOptions
from rung.retrieval.collection.ingest.write import Built
from rung.retrieval.measure import evaluate as measure

app = typer.Typer(help="Build, list, check and drop collections of documents.", rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection's name.")]


@dataclass(frozen=True)
class Build:
    """What is taken in, and into what."""

    docs: tuple[Path, ...] = argument(
        "Files and folders: text, Markdown, HTML, PDF, DOCX, CSV, JSONL, source code.", "DOCS..."
    )
    to: str = option(MISSING, "The collection; made if it is not there.", metavar="NAME")
    chunk: str | None = option(None, "fixed:256:32, sentences:200, recursive:200, semantic:200.", metavar="CHUNKER")
    embedder: str | None = option(None, "static, minilm, ...; none: keyword search only.", metavar="EMBEDDER")
    backend: str | None = option(None, "embedded, faiss:hnsw, hnsw, qdrant:http://host:6333/name, ...", metavar="INDEX")
    include: tuple[str, ...] = option((), "Only files like this: '*.md'.")
    exclude: tuple[str, ...] = option((), "No files like this: 'drafts/*'.")
    keep: bool = option(False, "Keep documents whose file is gone.", flags=("--keep",))
    watch: bool = option(False, "Go on: take in every change until Ctrl-C.", flags=("--watch",))
    on: str = option("local", "Where files are read, cut and embedded: local or ray.")

    def make(self, folder: Path) -> Collection:
        """A new collection."""
        embedder = None if self.embedder == "none" else self.embedder or "static"
        return Collection.create(folder, embedder=embedder, chunker=self.chunk, index=self.backend or "embedded")

    def open(self, folder: Path) -> Collection:
        """The collection that is there, if it was made as this says."""
        embedder = None if self.embedder == "none" else self.embedder
        collection = Collection.open(folder, chunker=self.chunk, embedder=embedder)
        _same(collection, self.embedder, self.backend)
        return collection


@app.command("build")
@expand
def build(given: Build) -> None:
    """Take in documents: what is new or changed; what was deleted goes. A killed build goes on where it was."""
    _place(given.on)
    folder = locate(given.to, Settings().home)
    fresh = not (folder / "collection.db").is_file()
    if fresh:
        for path in given.docs:  # before anything is made
            _there(path)
    collection = given.make(folder) if fresh else given.open(folder)
    try:
        with collection:
            known = []
            if given.watch:
                with suppress(InputError):  # nothing is there yet
                    known = documents.scan(given.docs, include=given.include, exclude=given.exclude)
            _run(collection, given)
            if given.watch:
                typer.echo(f"watching {', '.join(map(str, given.docs))}; Ctrl-C ends it", err=True)
                for _ in documents.watch(given.docs, include=given.include, exclude=given.exclude, known=known):
                    _run(collection, given)
    finally:
        # A first build that took nothing in leaves nothing: it must not hold a later one to its choices.
        if fresh and not given.watch:
            _forget(folder)


def _forget(folder: Path) -> None:
    """Delete a collection that holds no documents."""
    try:
        with Collection.open(folder) as collection:
            empty = not collection.stats().documents
        if empty:
            Collection.drop(folder)
    except RungError:  # somebody else writes it by now, or the disk is full: it stays
        return


def _place(on: str) -> None:
    if on not in ("local", "ray"):
        raise InputError(f"got --on {on}, expected local or ray", remedy="for instance: --on ray")
    if on == "ray":
        require("ray", "ray", "--on ray")


def _there(path: Path) -> None:
    if not path.exists():
        raise InputError(f"there is no {path}", remedy="correct the path")


def _same(collection: Collection, embedder: str | None, backend: str | None) -> None:
    stats = collection.stats()
    for what, given, made in (
        ("embedder", embedder, stats.embedder or "none"),
        ("backend", backend, stats.index),
    ):
        if given is not None and given != made:
            raise InputError(
                f"the collection {collection.name} was made with {what} {made}, not {given}",
                remedy=f"leave --{what} out, or begin anew: rung index drop {collection.name}",
            )


def _run(collection: Collection, given: Build) -> None:
    live = sys.stderr.isatty()

    def show(at: Progress) -> None:
        if live:
            total = f"/{at.total}" if at.total else ""
            typer.echo(f"\r\033[K{at.stage} {at.done}{total}  {at.note}", nl=False, err=True)

    try:
        options = BuildOptions(given.include, given.exclude, prune=not given.keep, on=given.on)
        built = collection.build(given.docs, show, options)
    finally:
        if live:
            typer.echo("\r\033[K", nl=False, err=True)
    _report(collection, built)


def _report(collection: Collection, built: Built) -> None:
    for what, problems, most in (("left out ", built.failures, 20), ("note: ", built.notes, 10)):
        for problem in problems[:most]:
            where = problem.file + (f":{problem.line}" if problem.line else "")
            typer.echo(f"{what}{where}{': ' if where else ''}{problem.message}", err=True)
        if len(problems) > most:
            typer.echo(f"{what}{len(problems) - most} more", err=True)
    done = built.added + built.updated
    speed = (
        f", {done / built.seconds:,.1f} documents/s, {built.passages / built.seconds:,.0f} passages/s" if done else ""
    )
    typer.echo(
        f"{collection.name}: {built.added} added, {built.updated} updated, {built.unchanged} unchanged, {built.deleted} deleted"
        f"; {built.passages} passages cut, {built.embedded} embedded; {built.seconds:.2f} s{speed}"
    )
    if built.failures and not done and not built.unchanged:
        raise typer.Exit(1)


@app.command("list")
def list_collections() -> None:
    """Say which collections there are."""
    settings = Settings()
    rows = [("name", "documents", "passages", "embedder", "index", "chunker", "size")]
    for name in names(settings.home):
        try:
            with Collection.open(find(name, settings.home)) as collection:
                stats = collection.stats()
        except RungError as error:
            rows.append((name, "-", "-", "-", "-", "-", error.message))
            continue
        rows.append(
            (
                name,
                f"{stats.documents:,}",
                f"{stats.passages:,}",
                stats.embedder or "none",
                stats.index,
                stats.chunker,
                f"{stats.bytes / 1e6:.1f} MB",
            )
        )
    if len(rows) == 1:
        typer.echo("no collections; make one: rung index build DOCS... --to NAME")
        return
    typer.echo(align(rows))


@app.command("stats")
def stats(name: Name, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what a collection holds and how large it is."""
    with Collection.open(find(name, Settings().home)) as collection:
        found = collection.stats()
    if json:
        typer.echo(encoder.dumps(encode(found), indent=2))
        return
    facts = [
        ("documents", f"{found.documents:,}"),
        ("passages", f"{found.passages:,}"),
        ("deleted, still there", f"{found.dead:,} vectors" + (f" (rung index compact {name})" if found.dead else "")),
        ("embedder", f"{found.embedder or 'none'}, {found.dimensions} dimensions"),
        ("chunker", found.chunker),
        ("index", found.index),
        ("generation", str(found.generation)),
        ("size", f"{found.bytes / 1e6:.1f} MB"),
        *((f"  {file}", f"{size / 1e6:.1f} MB") for file, size in found.files.items() if size >= 50_000),
    ]
    for key, value in facts:
        typer.echo(f"{key.ljust(22)}{value}")


@app.command("verify")
def verify(name: Name) -> None:
    """Check a collection through and through; what is derived and wrong is made again. Exit code 1: the truth is
    damaged."""
    with Collection.open(find(name, Settings().home)) as collection:
        found = collection.verify()
    for line in found.repaired:
        typer.echo(f"made again: {line}")
    for line in found.damage:
        typer.echo(f"damaged: {line}", err=True)
    if found.damage:
        typer.echo(
            f"{name}: restore {name}/collection.db from a backup, or build it again (rung index drop {name})", err=True
        )
        raise typer.Exit(1)
    typer.echo(f"{name}: whole")


@app.command("compact")
def compact(name: Name) -> None:
    """Give back the room of deleted documents."""
    with Collection.open(find(name, Settings().home)) as collection:
        before = collection.stats().bytes
        collection.compact()
        after = collection.stats().bytes
    typer.echo(f"{name}: {before / 1e6:.1f} MB, now {after / 1e6:.1f} MB")


@app.command("drop")
def drop(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    leave: Annotated[
        bool, typer.Option("--leave", help="Leave its rows in another index (a server that is gone).")
    ] = False,
) -> None:
    """Delete a collection. The documents it was built from stay."""
    folder = find(name, Settings().home)
    if not yes:
        typer.confirm(f"Delete {folder}?", abort=True)
    Collection.drop(folder, leave=leave)
    typer.echo(f"{name}: deleted")


@app.command("evaluate")
def evaluate(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A BEIR folder: corpus.jsonl, queries.jsonl and qrels.tsv.")
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--collection", metavar="NAME", help="Search this collection; its documents' ids are the judged ones."
        ),
    ] = None,
    embedder: Annotated[
        list[str] | None,
        typer.Option("--embedder", metavar="EMBEDDER", help="May be given several times. Default: static."),
    ] = None,
    rerank: Annotated[str, typer.Option(help="The reranker of the reranked row.")] = "words",
    json: Annotated[bool, typer.Option("--json", help="Print JSON: each row's cells by column.")] = False,
) -> None:
    """Compare keyword, dense, hybrid and reranked search on judged queries, with intervals."""
    live = sys.stderr.isatty()

    def show(method: str, done: int) -> None:
        if live and done % 10 == 0:
            typer.echo(f"\r\033[K{method}: {done} queries", nl=False, err=True)

    judged = measure.read(folder)
    if name is None:
        rows = measure.compare(judged, embedder or ["static"], rerank, progress=show)
    else:
        if embedder:
            raise InputError(
                f"{name} has its embedder already, got --embedder {embedder[0]}",
                remedy="leave --embedder or --collection out",
            )
        methods = [
            replace(each, search=replace(each.search, rerank=rerank)) if each.search.rerank else each
            for each in measure.METHODS
        ]
        with Collection.open(find(name, Settings().home)) as collection:
            if not collection.dimensions:
                methods = [each for each in methods if each.search.mode == "keyword"]
            rows = measure.evaluate(collection, judged.queries, judged.relevant, methods, progress=show)
    if live:
        typer.echo("\r\033[K", nl=False, err=True)
    lines = measure.table(rows)
    if json:
        found = {"name": judged.name, "queries": len(judged.queries), "rows": records(lines)}
        typer.echo(encoder.dumps(found, indent=2))
        return
    missing = f", {judged.unknown} judgements of documents that are not there" if judged.unknown else ""
    typer.echo(f"{judged.name}: {len(judged.documents):,} documents, {len(judged.queries)} queries{missing}")
    typer.echo(align(lines))
