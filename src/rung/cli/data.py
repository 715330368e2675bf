"""``rung data``: raw sources to training rows; what is in them; cleaning, splitting and writing them out."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rung.core.settings import Settings
    from rung.data.rows.lines import Count
    from rung.data.rows.records import Record

app = typer.Typer(
    help="Training rows: from files, mail, chats, documents and runs; cleaned, looked at, split.", rich_markup_mode=None
)

SHOWN = 10
"""Faults that are printed."""


@app.command("import")
def import_rows(
    to: Annotated[Path, typer.Option(help="The file of rows to write (.jsonl).")],
    sources: Annotated[list[Path] | None, typer.Argument(help="Files and folders.")] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--as", help="table, text, faq, sections (of documents), mail or chat; without it, told by the file."
        ),
    ] = "",
    me: Annotated[
        list[str] | None, typer.Option(help="Who you are in mails and chats: your turns are learnt. Repeatable.")
    ] = None,
    gap: Annotated[float, typer.Option(help="Hours of silence after which a chat is another conversation.")] = 12.0,
    shape: Annotated[str, typer.Option(help="Shape of a table's rows; without it, told by its columns.")] = "",
    question: Annotated[str, typer.Option(metavar="COLUMN", help="A table's column that is asked.")] = "",
    answer: Annotated[str, typer.Option(metavar="COLUMN", help="A table's column that is learnt.")] = "",
    header: Annotated[
        bool, typer.Option("--header/--no-header", help="Without: columns are named 1, 2 and so on.")
    ] = True,
    quotes: Annotated[
        bool,
        typer.Option("--quotes/--no-quotes", help="Without: quotation marks in CSV and TSV are signs like others."),
    ] = True,
    run: Annotated[str, typer.Option(help="A run's id, or last: its answers are the rows.")] = "",
    rung: Annotated[str, typer.Option(help="Which rung of the run; without it, the recommended one.")] = "",
    served: Annotated[
        str, typer.Option(metavar="MODEL", help="What rung serve --record kept of this model id, or of all: all.")
    ] = "",
    corrections: Annotated[
        Path | None, typer.Option(help="A table of id and answer that wins over what was answered.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--every", help="Also answers of a run that were not right; served ones that nobody scored.")
    ] = False,
    store: Annotated[str | None, typer.Option(help="Store URL of the run, or of what was served.")] = None,
) -> None:
    """Read sources into one file of rows, each with where it came from."""
    from rung.core.errors import InputError
    from rung.data.rows.lines import write
    from rung.data.rows.shapes import kept_beside

    if not sources and not run and not served:
        raise InputError(
            "nothing was named to import", remedy="name files, or a run: rung data import --run last --to FILE.jsonl"
        )
    if run and served and corrections is not None:
        raise InputError("--corrections could be of the run or of what was served", remedy="import one at a time")
    if to.suffix.lower() not in (".jsonl", ".ndjson"):
        raise InputError(
            f"rows are written as JSON Lines, not {to.suffix or 'without suffix'}",
            remedy=f"--to {to.stem}.jsonl; other formats: rung data export",
        )
    if bool(question) != bool(answer):
        raise InputError("one of --question and --answer is missing", remedy="name both columns")
    faults: list[str] = []
    beside: Counter[str] = Counter()

    offered = 0

    def rows() -> Iterator[Record]:
        nonlocal offered
        found = 0
        for record in chain(
            _sources(sources or [], kind, me or [], gap, _form(shape, question, answer), header, quotes, faults),
            _traces(run, rung, corrections, every, store, faults) if run else (),
            _served(served, corrections, every, store, faults) if served else (),
        ):
            found += 1
            beside.update(kept_beside(record))
            offered += bool(record.tools)
            yield record
        if not found:
            raise InputError(
                "there is no row in it" + (f": {faults[0]}" if faults else ""), remedy="rung data import --help"
            )

    count = write(to, rows())
    _say(faults)
    typer.echo(f"{to}: {count:,} rows" + (f", {len(faults):,} left out" if faults else ""))
    if offered:
        typer.echo(f"{offered:,} rows offer tools to the model", err=True)
    if beside:
        kept = ", ".join(f"{name} ({number:,} rows)" for name, number in beside.most_common())
        typer.echo(f"kept with the rows, but not learnt from: {kept}", err=True)
    if run:
        typer.echo(
            "note: the run answered test examples, so these rows hold them: what is trained on them is not to be judged by that test "
            "again. Bring new test examples, or import what was served (--served)",
            err=True,
        )


@app.command("clean")
def clean_rows(
    file: Annotated[Path, typer.Argument(help="A file of rows.")],
    to: Annotated[Path, typer.Option(help="The file to write; a report and what was dropped lie beside it.")],
    exact: Annotated[bool, typer.Option("--exact/--no-exact", help="Drop rows that are there already.")] = True,
    near: Annotated[
        float, typer.Option(help="Drop near-duplicates from this Jaccard similarity on (0.4 to 1); 0: keep.")
    ] = 0.8,
    against: Annotated[
        list[Path] | None, typer.Option(help="Drop rows whose input stands in this file (a test set). Repeatable.")
    ] = None,
    leak: Annotated[float, typer.Option(help="Similarity from which an input is that of the other file.")] = 0.8,
    min_tokens: Annotated[int, typer.Option(min=0, help="Drop shorter rows.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=0, help="Drop longer rows; 0: no bound.")] = 0,
    model: Annotated[str | None, typer.Option("-m", "--model", help="Whose tokens are counted.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="Keep these languages (en, de, ...). Repeatable.")] = None,
    pii: Annotated[str, typer.Option(help="Personal data and secrets: mask, drop or off.")] = "mask",
    people: Annotated[
        bool,
        typer.Option("--records", help="Rows are records about people: look for names, dates, places and numbers too."),
    ] = False,
    toxic: Annotated[str, typer.Option(help="Harmful text: drop, list or off.")] = "drop",
    toxic_words: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Words that are harmful wherever they stand, one a line.")
    ] = None,
    harmful: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Harmful texts to learn the filter from, with --harmless.")
    ] = None,
    harmless: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Harmless texts to learn the filter from.")
    ] = None,
    labels: Annotated[str, typer.Option(help="Contradictions and doubtful labels: list, drop or off.")] = "list",
    style: Annotated[str, typer.Option(help="Answers written unlike the rest: list, drop or off.")] = "list",
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Filter rows; says what was dropped and why. After a kill, the same command goes on."""
    import json as encoder

    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.data.clean.clean import Options, clean
    from rung.safety.private import KINDS, RECORDS

    for name, value, known in (
        ("--pii", pii, ("mask", "drop", "off")),
        ("--toxic", toxic, ("drop", "list", "off")),
        ("--labels", labels, ("drop", "list", "off")),
        ("--style", style, ("drop", "list", "off")),
    ):
        if value not in known:
            raise InputError(f"{name} is {value!r}", remedy=f"expected {', '.join(known)}")
    for name, number in (("--near", near), ("--leak", leak)):
        if number and not 0.4 <= number <= 1:
            raise InputError(f"{name} is {number}", remedy="expected 0 (off) or 0.4 to 1")
    if max_tokens and max_tokens < min_tokens:
        raise InputError(f"--max-tokens {max_tokens} is below --min-tokens {min_tokens}", remedy="correct one")
    if bool(harmful) != bool(harmless):
        raise InputError("one of --harmful and --harmless is missing", remedy="name both files")
    options: dict[str, Any] = {
        "kinds": RECORDS if people else KINDS,
        "pii": pii,
        "toxic": toxic,
        "labels": labels,
        "style": style,
    }
    chosen = Options(
        exact=exact,
        near=near or None,
        against=tuple(against or ()),
        leak=leak or None,
        min_tokens=min_tokens,
        max_tokens=max_tokens,
        languages=tuple(language or ()),
        **options,
    )
    count, counter = _counter(model, Settings()) if min_tokens or max_tokens else (None, "")
    judge, name = _judge(toxic_words, harmful, harmless) if toxic != "off" else (None, "")
    report = clean(file, to, chosen, count=count, counter=counter, toxic=judge, judge=name)
    if json:
        typer.echo(encoder.dumps(report.document(), indent=1, ensure_ascii=False))
        return
    if report.resumed:
        typer.echo(f"went on after the first {report.resumed:,} rows")
    typer.echo(report.text())
    if counter:
        typer.echo(f"Tokens are those of {counter}.")
    typer.echo(f"{to}, {to.name}.report.json, {to.name}.report.txt, {to.name}.dropped.jsonl")


@app.command("private")
def measure_private(
    check: Annotated[
        Path, typer.Argument(help='Texts with what is private marked: {"marked": "Dr [[NAME|Marsh]] rang"}.')
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How much of what is private is found in marked texts: recall and precision by kind, and what was missed."""
    import json as encoder

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
    file: Annotated[Path, typer.Argument(help="A file of rows.")],
    report: Annotated[Path | None, typer.Option(help="Write a page with pictures here (.html).")] = None,
    model: Annotated[str | None, typer.Option("-m", "--model", help="Whose tokens are counted.")] = None,
    tokens: Annotated[bool, typer.Option("--tokens/--no-tokens", help="Count tokens.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What is in rows: labels, kinds of instructions, lengths, variety, what they are about."""
    import json as encoder

    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.data.rows.lines import replacing, stream
    from rung.data.split.profile import lines, page, profile

    faults: list[str] = []
    records = [record for _, record in stream(file, faults)]
    if not records:
        raise InputError("holds no row" + (f": {faults[0]}" if faults else ""), file=file, remedy="name a file of rows")
    count, counter = _counter(model, Settings()) if tokens else (None, "")
    found = profile(records, count)
    _say(faults)
    if report is not None:
        with replacing(report) as out:
            out.write(page(found, file.name, counter).encode("utf-8", "replace"))
    if json:
        typer.echo(encoder.dumps(found.document(), indent=1, ensure_ascii=False))
        return
    typer.echo("\n".join(lines(found, counter)))
    if report is not None:
        typer.echo(f"Report: {report}")


@app.command("split")
def split_rows(
    file: Annotated[Path, typer.Argument(help="A file of rows.")],
    to: Annotated[Path, typer.Option(help="The folder for train.jsonl, dev.jsonl, test.jsonl and splits.json.")],
    shares: Annotated[str, typer.Option(help="Train, dev and test.")] = "0.8,0.1,0.1",
    near: Annotated[float, typer.Option(help="Inputs this alike (Jaccard) stay together; 0: equal ones only.")] = 0.8,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Rows with the same value of this in their source stay together. Repeatable."),
    ] = None,
    hold_kinds: Annotated[
        str,
        typer.Option(
            metavar="SHARE|NAMES",
            help="Whole kinds of instructions go to held.jsonl: about 0.2 of the rows, or those named.",
        ),
    ] = "",
    kinds: Annotated[
        str,
        typer.Option(metavar="kind|label|KEY", help="What a kind is: told by rules, the answer, or a key of the rows."),
    ] = "kind",
    balance: Annotated[
        str, typer.Option(metavar="kind|label|cluster|KEY", help="Leave out rows of train so that these count alike.")
    ] = "",
    most: Annotated[
        int,
        typer.Option(
            min=0, help="Rows of each in train at most; 0: as many as leave an evenness of 0.9, or half of the rows."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Another draw.")] = 0,
) -> None:
    """Split rows: near-duplicates and one source together, labels in their shares, frozen by hash."""
    from rung.core.errors import InputError
    from rung.core.types import Split
    from rung.data.rows.lines import stream
    from rung.data.split.split import ORIGINS, split
    from rung.tasks.split import SPLITS

    try:
        numbers = [float(part) for part in shares.split(",")]
        given: dict[Split, float] = dict(zip(SPLITS, numbers, strict=len(numbers) != 2))
    except ValueError:
        raise InputError(f"--shares is {shares!r}", remedy="expected three numbers: --shares 0.8,0.1,0.1") from None
    hold: float | list[str]
    try:
        hold = float(hold_kinds or 0)
    except ValueError:
        hold = [name.strip() for name in hold_kinds.split(",") if name.strip()]
    if isinstance(hold, float) and not 0 <= hold < 1:
        raise InputError(f"--hold-kinds is {hold_kinds}", remedy="expected a share below 1, or names: --hold-kinds 0.2")
    if kinds == "cluster":
        raise InputError("clusters change with every row", remedy="--kinds kind, or a key of the rows")
    if most and not balance:
        raise InputError("--most says how many, but not of what", remedy="--balance kind")
    found = split(
        [record for _, record in stream(file)],
        to,
        shares={name: share for name, share in given.items() if share},
        near=near or None,
        by=by or ORIGINS,
        seed=seed,
        hold=hold,
        kinds=kinds,
        balance=balance,
        most=most,
    )
    for name, number in found.counts.items():
        typer.echo(f"{name:<6}{number:>9,}  sha256 {found.hashes[f'{name}.jsonl'][:16]}")
    typer.echo(f"{found.groups:,} groups of like rows; {found.frozen:,} rows stayed where they were")
    if found.held:
        typer.echo(f"held out: {', '.join(found.held)}")
    if found.most:
        before, after = ("–" if value is None else f"{value:.2f}" for value in found.even)
        typer.echo(
            f"train has at most {found.most:,} rows of each {balance}: evenness {before} -> {after}, {found.spare:,} left out"
        )
    if found.left:
        typer.echo(f"{found.left:,} rows are in no split: they tie rows of several splits together")


@app.command("export")
def export_rows(
    file: Annotated[Path, typer.Argument(help="A file of rows.")],
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
    from rung.data.rows.export import export
    from rung.data.rows.lines import stream

    faults: list[str] = []
    count = export((record for _, record in stream(file)), to, shape=shape, provenance=provenance, faults=faults)
    _say(faults)
    typer.echo(f"{to}: {count:,} rows" + (f", {len(faults):,} that the shape cannot say" if faults else ""))


def _say(faults: list[str]) -> None:
    for fault in faults[:SHOWN]:
        typer.echo(f"left out: {fault}", err=True)
    if len(faults) > SHOWN:
        typer.echo(f"left out: {len(faults) - SHOWN:,} more", err=True)


def _form(shape: str, question: str, answer: str) -> Any:
    from rung.data.rows import shapes

    return shapes.Columns(question, answer) if question else shapes.shape(shape) if shape else ""


def _sources(
    sources: list[Path], kind: str, me: list[str], gap: float, form: Any, header: bool, quotes: bool, faults: list[str]
) -> Iterator[Record]:
    from rung.core.errors import InputError
    from rung.data.read import read
    from rung.data.sources import mail, papers, talk
    from rung.data.sources.sources import KINDS, told_by

    if kind and kind not in KINDS:
        raise InputError(f"--as is {kind!r}", remedy=f"expected {', '.join(KINDS)}")
    for path in sources:
        if not path.exists():
            raise InputError(f"there is no {path}", remedy="correct the path")
        match kind or ("table" if form else told_by(path)):
            case "mail":
                yield from mail.read(path, me, faults)
            case "chat":
                yield from talk.read(path, me, faults, gap=gap)
            case "table":
                yield from read([path], shape=form, header=None if header else False, quotes=quotes, faults=faults)
            case wanted:
                yield from papers.gather([path], wanted, faults)  # type: ignore[arg-type]


def _traces(
    run: str, rung: str, corrections: Path | None, every: bool, store: str | None, faults: list[str]
) -> list[Record]:
    import asyncio

    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.data.sources import traces
    from rung.ladder.history import read_results, read_run
    from rung.models import Pool
    from rung.store import open_store

    settings = Settings({"store": store})
    right = traces.corrections(corrections) if corrections is not None else {}

    async def work() -> list[Record]:
        with open_store(settings.store_url) as opened:
            record = read_run(opened, run)
            title = rung or (record.recommendation.rung if record.recommendation is not None else "")
            if not title:
                raise InputError(f"run {record.id} recommends no rung", remedy="name one: --rung TITLE")
            async with Pool(settings) as pool:
                results = await read_results(opened, record, title, pool, what="import")
        return list(traces.harvest(results, right, record.id, title, record.metrics[0], faults, every=every))

    return asyncio.run(work())


def _served(
    served: str, corrections: Path | None, every: bool, store: str | None, faults: list[str]
) -> Iterator[Record]:
    from rung.core.settings import Settings
    from rung.data.sources import traces
    from rung.store import open_store

    right = traces.corrections(corrections) if corrections is not None else {}
    with open_store(Settings({"store": store}).store_url) as opened:
        yield from traces.gather(opened.served("" if served == "all" else served), right, faults, every=every)


def _counter(model: str | None, settings: Settings) -> tuple[Count, str]:
    """Counts tokens with the model's own tokenizer; where its weights are not on this machine, with that of the static embedder, told."""
    from rung.core.errors import FetchError, MissingExtra
    from rung.data.rows.length import by_model, by_static

    name = model or settings["model"]
    try:
        return by_model(name, settings), name
    except (FetchError, MissingExtra) as error:
        if model is not None:
            raise
        typer.echo(f"{error.message}: tokens are counted approximately, by the static embedder's tokenizer", err=True)
        return by_static(settings), "the static embedder, an approximation"


def _judge(words: Path | None, harmful: Path | None, harmless: Path | None) -> tuple[Any, str]:
    from rung.core.codec import digest
    from rung.data.clean.toxic import rules, trained
    from rung.safety.filter import read_texts

    listed = read_texts(words) if words is not None else []
    if harmful is not None and harmless is not None:
        bad, good = read_texts(harmful), read_texts(harmless)
        return trained(bad, good, listed), digest(["trained", bad, good, listed])
    return rules(listed), digest(["rules", listed])
