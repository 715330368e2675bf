"""``rung data``: raw sources to training rows; what is in them; cleaning, splitting and writing them out."""

from __future__ import annotations

import asyncio
import json as encoder
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.options import Json, StoreUrl, expand
from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.settings import Settings
from rung.data.clean.options import CleanOptions
from rung.data.rows.records import Record
from rung.data.sources.gather import ImportOptions
from rung.data.sources.traces import TraceOptions
from rung.data.split.options import SplitOptions

app = typer.Typer(
    help="Training rows: from files, mail, chats, documents and runs; cleaned, looked at, split.", rich_markup_mode=None
)

SHOWN = 10
"""Problems that are printed."""
TESTED = (
    "note: the run answered test examples, so these rows hold them: do not judge what is trained on them by that test again. Bring new "
    "test examples, or import what was served (--served)"
)

Rows = Annotated[Path, typer.Argument(help="A file of rows.")]


@app.command("import")
@expand
def import_rows(
    to: Annotated[Path, typer.Option(help="The file of rows to write (.jsonl).")],
    options: ImportOptions,
    traces: TraceOptions,
    sources: Annotated[list[Path] | None, typer.Argument(help="Files and folders.")] = None,
    store: StoreUrl = None,
) -> None:
    """Read sources into one file of rows, each with where it came from."""
    from rung.data.rows.lines import write
    from rung.data.sources.gather import gather

    if not sources and not traces.run and not traces.served:
        remedy = "name files, or a run: rung data import --run last --to FILE.jsonl"
        raise InputError("nothing was named to import", remedy=remedy, code="no-source")
    if to.suffix.lower() not in (".jsonl", ".ndjson"):
        raise InputError(
            f"rows are written as JSON Lines, not {to.suffix or 'without suffix'}",
            remedy=f"--to {to.stem}.jsonl; other formats: rung data export", code="not-jsonl",
        )  # fmt: skip
    problems = Problems()
    beside: Counter[str] = Counter()
    count = write(
        to,
        _some(
            chain(
                gather(sources or [], options, problems),
                _run(traces, store, problems) if traces.run else (),
                _served(traces, store, problems) if traces.served else (),
            ),
            beside,
            problems,
        ),
    )
    _say(problems)
    left = problems.counts["error"]
    typer.echo(f"{to}: {count:,} rows" + (f", {left:,} left out" if left else ""))
    if offered := beside.pop(TOOLS, 0):
        typer.echo(f"{offered:,} rows offer tools to the model", err=True)
    if beside:
        kept = ", ".join(f"{name} ({number:,} rows)" for name, number in beside.most_common())
        typer.echo(f"kept with the rows, but not learnt from: {kept}", err=True)
    if traces.run:
        typer.echo(TESTED, err=True)


TOOLS = "\0tools"


def _some(records: Iterator[Record], beside: Counter[str], problems: Problems) -> Iterator[Record]:
    """The records, of which there must be one; what they keep beside what is learnt is counted."""
    from rung.data.rows.shapes import kept_beside

    record = None
    for record in records:
        beside.update(kept_beside(record))
        beside.update([TOOLS] if record.tools else ())
        yield record
    if record is None:
        why = f": {problems.found[0].message}" if problems.found else ""
        raise InputError(f"there is no row in it{why}", remedy="rung data import --help", code="no-rows")


def _run(options: TraceOptions, store: str | None, problems: Problems) -> list[Record]:
    from rung.data.sources import traces
    from rung.ladder.history import read_results, read_run
    from rung.models import Pool
    from rung.store import open_store

    settings = Settings({"store": store})
    right = options.right

    async def work() -> list[Record]:
        with open_store(settings.store_url) as opened:
            record = read_run(opened, options.run)
            title = options.rung or (record.recommendation.rung if record.recommendation is not None else "")
            if not title:
                raise InputError(f"run {record.id} recommends no rung", remedy="name one: --rung TITLE", code="no-rung")
            async with Pool(settings) as pool:
                results = await read_results(opened, record, title, pool, what="import")
        given = traces.Answers(record.id, title, record.metrics[0], results)
        return list(traces.harvest(given, right, problems, every=options.every))

    return asyncio.run(work())


def _served(options: TraceOptions, store: str | None, problems: Problems) -> Iterator[Record]:
    from rung.data.sources import traces
    from rung.store import open_store

    right = options.right
    with open_store(Settings({"store": store}).store_url) as opened:
        requests = opened.served.all("" if options.served == "all" else options.served)
        reviews = traces.read_reviews(opened.signals.all())
        mine = traces.allowed(requests, reviews, problems, consented=options.consented)
        yield from traces.gather(mine, right, problems, every=options.every, reviews=reviews)


@app.command("status")
def show_status(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Files of rows, and folders of what was trained.")
    ],
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Say which rows and weights come from traces that were deleted since: those are stale. The exit code is 1 where
    some are."""
    from rung.data.sources.lineage import descendants
    from rung.store import open_store

    with open_store(Settings({"store": store}).store_url) as opened:
        found = list(descendants(paths, opened.served.missing, opened.served.unsaid))
    if json:
        shown = [asdict(one) | {"path": str(one.path)} for one in found]
        typer.echo(encoder.dumps(shown, indent=1, ensure_ascii=False))
    else:
        for one in found:
            typer.echo(str(one))
    if not found:
        typer.echo("there are no rows and no weights", err=True)
    if any(one.gone for one in found):
        typer.echo("make stale rows anew (rung data import), and what was trained on them", err=True)
        raise typer.Exit(1)


@app.command("clean")
@expand
def clean_rows(
    file: Rows,
    to: Annotated[Path, typer.Option(help="The file to write; a report and what was dropped lie beside it.")],
    options: CleanOptions,
    json: Json = False,
) -> None:
    """Filter rows; says what was dropped and why. After a kill, the same command goes on."""
    from rung.data.clean.pipeline import clean

    report = clean(file, to, options)
    if json:
        typer.echo(encoder.dumps(report.document(), indent=1, ensure_ascii=False))
        return
    if report.resumed:
        typer.echo(f"went on after the first {report.resumed:,} rows")
    typer.echo(report.text())
    typer.echo(f"{to}, {to.name}.report.json, {to.name}.report.txt, {to.name}.dropped.jsonl")


@app.command("private")
def measure_private(
    check: Annotated[
        Path, typer.Argument(help='Texts with what is private marked: {"marked": "Dr [[NAME|Marsh]] rang"}.')
    ],
    json: Json = False,
) -> None:
    """Measure how much private text is found in marked texts: recall and precision by kind, and what was missed."""
    from rung.core.codec import encode
    from rung.safety.check import measure, read_check

    found = measure(read_check(check))
    if json:
        typer.echo(encoder.dumps(encode(found), indent=1, ensure_ascii=False))
        return
    typer.echo(f"{found.texts:,} texts\n{'kind':<12}{'marked':>8}{'found':>8}{'recall':>8}{'told':>8}{'precision':>11}")
    for kind, share in (*found.kinds.items(), ("all", found.whole)):
        recall = f"{share.recall:.3f}" if share.wanted else "–"
        typer.echo(f"{kind:<12}{share.wanted:>8,}{share.found:>8,}{recall:>8}{share.told:>8,}{share.precision:>11.3f}")
    for title, rows in (("missed", found.missed), ("told, not marked", found.wrong)):
        for number, kind, text in rows[:SHOWN]:
            typer.echo(f"{title}: {kind} {text!r} in text {number}")
        if len(rows) > SHOWN:
            typer.echo(f"{title}: {len(rows) - SHOWN:,} more")


@app.command("profile")
def profile_rows(
    file: Rows,
    report: Annotated[Path | None, typer.Option(help="Write a page with pictures here (.html).")] = None,
    model: Annotated[str, typer.Option("-m", "--model", help="Whose tokens are counted.")] = "",
    tokens: Annotated[bool, typer.Option("--tokens/--no-tokens", help="Count tokens.")] = True,
    json: Json = False,
) -> None:
    """Show what is in rows: labels, kinds of instructions, lengths, variety, what they are about."""
    from rung.data.read import stream
    from rung.data.rows.length import open_counter
    from rung.data.rows.lines import replacing
    from rung.data.split.profile import lines, page, profile

    problems = Problems()
    records = [record for _, record in stream(file, problems)]
    if not records:
        problems.demand(file)
        raise InputError("holds no row", file=file, remedy="name a file of rows", code="no-rows")
    counter = open_counter(model, Settings()) if tokens else None
    found, name = profile(records, counter), counter.name if counter else ""
    _say(problems)
    if report is not None:
        with replacing(report) as out:
            out.write(page(found, file.name, name).encode("utf-8", "replace"))
    if json:
        typer.echo(encoder.dumps(found.document(), indent=1, ensure_ascii=False))
        return
    typer.echo("\n".join(lines(found, name)))
    if report is not None:
        typer.echo(f"Report: {report}")


@app.command("split")
@expand
def split_rows(
    file: Rows,
    to: Annotated[Path, typer.Option(help="The folder for train.jsonl, dev.jsonl, test.jsonl and splits.json.")],
    options: SplitOptions,
) -> None:
    """Split rows: near-duplicates and one source together, labels in their shares, frozen by hash."""
    from rung.data.read import stream
    from rung.data.split.split import split

    plan = options.plan
    found = split([record for _, record in stream(file)], to, plan)
    for name, number in found.counts.items():
        typer.echo(f"{name:<6}{number:>9,}  sha256 {found.hashes[f'{name}.jsonl'][:16]}")
    typer.echo(f"{found.groups:,} groups of like rows; {found.frozen:,} rows stayed where they were")
    if found.held:
        typer.echo(f"held out: {', '.join(found.held)}")
    if found.most:
        before, after = ("–" if value is None else f"{value:.2f}" for value in found.even)
        typer.echo(
            f"train has at most {found.most:,} rows of each {options.balance}: evenness {before} -> {after}, "
            f"{found.spare:,} left out"
        )
    if found.left:
        typer.echo(f"{found.left:,} rows are in no split: they tie rows of several splits together")


@app.command("export")
def export_rows(
    file: Rows,
    to: Annotated[Path, typer.Option(help="The file to write: .jsonl, .json, .csv or .parquet.")],
    shape: Annotated[
        str,
        typer.Option(
            help="messages, sharegpt, instruction, prompt, columns, preference or text; without it, as it came."
        ),
    ] = "",
    provenance: Annotated[
        bool, typer.Option("--provenance", help="With a column that says where each row came from.")
    ] = False,
) -> None:
    """Write rows in a shape and format that others read."""
    from rung.data.read import stream
    from rung.data.rows.export import export

    problems = Problems()
    count = export((record for _, record in stream(file)), to, problems, shape=shape, provenance=provenance)
    _say(problems)
    left = problems.counts["error"]
    typer.echo(f"{to}: {count:,} rows" + (f", {left:,} that the shape cannot say" if left else ""))


def _say(problems: Problems) -> None:
    for problem in problems.found[:SHOWN]:
        place = ":".join(str(part) for part in (problem.file, problem.line) if part)
        what = "left out" if problem.level == "error" else "note"
        typer.echo(f"{what}: {place}: {problem.message}", err=True)
    if (more := problems.counts.total() - min(len(problems.found), SHOWN)) > 0:
        typer.echo(f"and {more:,} more", err=True)
