"""``rung vectors``: neighbours, analogies, sums of words, offsets, similarity sets, alignment; fit what must be
fitted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rung.core.types import Interval
    from rung.retrieval.measure.vectors import Space

app = typer.Typer(
    help="Word and text vectors: nearest, analogy, eval, analogies, offsets, similarity, align, fit.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

Named = Annotated[
    str, typer.Option("--embedder", "-e", metavar="NAME", help="For instance static, words:glove, minilm.")
]
Listed = Annotated[Path | None, typer.Option("--words", metavar="FILE", help="More words to look among, one a line.")]
Many = Annotated[int, typer.Option("-k", min=1, help="How many words.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("nearest")
def nearest(
    text: Annotated[str, typer.Argument(metavar="WORD|TEXT")],
    embedder: Named = "static",
    words: Listed = None,
    k: Many = 10,
    json: Json = False,
) -> None:
    """Find the words nearest to a word or text by cosine (itself left out)."""
    space = _space(embedder, words)
    _ranked(space.nearest(space.vector(text), k, (text,)), json)


@app.command("analogy")
def analogy(
    question: Annotated[str, typer.Argument(metavar="A:B::C:?", help='For instance "man:woman::king:?".')],
    embedder: Named = "static",
    words: Listed = None,
    k: Many = 5,
    json: Json = False,
) -> None:
    """Find the word that is to C as B is to A. The three are left out."""
    from rung.retrieval.measure.vectors import parse_analogy

    a, b, c = parse_analogy(question)
    _ranked(_space(embedder, words).analogy(a, b, c, k), json)


@app.command("eval")
def evaluate(
    expression: Annotated[str, typer.Argument(metavar="SUM", help='For instance "king - man + woman".')],
    embedder: Named = "static",
    words: Listed = None,
    k: Many = 5,
    json: Json = False,
) -> None:
    """Find the words nearest to a sum of words; those of the sum are left out."""
    _ranked(_space(embedder, words).evaluate(expression, k), json)


@app.command("analogies")
def analogies(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Lines of four words under ': section' lines; .gz too.")],
    embedder: Named = "static",
    words: Listed = None,
    json: Json = False,
) -> None:
    """Count how many analogies of a file come out right, first and among five, by section, with 95% intervals."""
    from rung.retrieval.measure.vectors import Answered, answer, read_sections

    sections = read_sections(file)
    space = _space(embedder, words, (word for lines in sections.values() for line in lines for word in line))
    found = answer(space, sections)
    total = Answered("all", *(sum(getattr(f, name) for f in found) for name in ("asked", "known", "first", "five")))
    rows = [
        {
            "section": item.section,
            "asked": item.asked,
            "known": item.known,
            "top1": item.interval(item.first),
            "top5": item.interval(item.five),
        }
        for item in (*found, total)
    ]
    _table(rows, json)


@app.command("offsets")
def offsets(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Pairs or analogies under ': section' lines.")],
    embedder: Named = "static",
    words: Listed = None,
    json: Json = False,
) -> None:
    """Measure how parallel the offsets of each relation are: their mean cosine, beside that of shuffled pairs."""
    from rung.retrieval.measure.vectors import parallel, read_sections

    sections = read_sections(file)
    space = _space(embedder, words, (word for lines in sections.values() for line in lines for word in line))
    rows = [
        {"relation": f.section, "pairs": f.pairs, "cosine": f.cosine, "shuffled": f.shuffled, "p": f.p}
        for f in parallel(space, sections)
    ]
    _table(rows, json)


@app.command("similarity")
def similarity(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Two words and people's score a line.")],
    embedder: Named = "static",
    json: Json = False,
) -> None:
    """Compute Spearman's correlation of cosines with people's scores, with a 95% bootstrap interval."""
    from rung.retrieval.measure.vectors import agree, read_similarity

    sets = [(file, read_similarity(file)) for file in files]
    space = _space(embedder, None, (word for _, rows in sets for a, b, _ in rows for word in (a, b)))
    rows = []
    for file, pairs in sets:
        found = agree(space, pairs)
        rows.append({"set": file.stem, "pairs": found.asked, "known": found.known, "spearman": found.correlation})
    _table(rows, json)


@app.command("align")
def align(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Embedder of the one language: words:en.vec")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Embedder of the other: words:fr.vec")],
    lexicon: Annotated[Path, typer.Argument(metavar="LEXICON", help="Two words a line: source, target.")],
    held: Annotated[float, typer.Option(min=0.05, max=0.9, help="Share of the source words held out.")] = 0.3,
    json: Json = False,
) -> None:
    """Turn one space onto another by a lexicon (orthogonal Procrustes), and translate the words held out."""
    from rung.core.errors import InputError
    from rung.retrieval.measure.vectors import align, read_lines

    pairs = []
    for number, line in enumerate(read_lines(lexicon), 1):
        parts = [part.strip() for part in (line.split("\t") if "\t" in line else line.split())]
        if not any(parts):
            continue
        if len(parts) != 2:
            raise InputError("expected two words", file=lexicon, line=number, remedy="put a tab between the two")
        pairs.append((parts[0], parts[1]))
    one = _space(source, None, (a for a, _ in pairs), own=False)
    two = _space(target, None, (b for _, b in pairs), own=False)
    _, found = align(one, two, pairs, held=held)
    row = {"trained": found.trained, "tested": found.tested, "precision@1": found.first, "precision@5": found.five}
    _table([{**row, "unaligned@1": found.unaligned}], json)


@app.command("fit")
def fit(
    name: Annotated[str, typer.Argument(metavar="NAME", help="tfidf, onehot, or an embedder with ?pooling=sif.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The corpus, a text a line; .gz too.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE.npz", help="Where to write what was learned.")],
) -> None:
    """Fit an embedder on a corpus, and say under which name it opens from then on."""
    from rung.models import fit_embedder
    from rung.retrieval.measure.vectors import read_lines

    texts = [line for line in read_lines(file) if line.strip()]
    to.parent.mkdir(parents=True, exist_ok=True)
    fitted = fit_embedder(name, texts, to)
    typer.echo(f"{fitted.name}: {fitted.dimensions:,} dimensions, from {len(texts):,} texts")


def _space(embedder: str, listed: Path | None, more: Iterable[str] = (), *, own: bool = True) -> Space:
    from rung.core.protocols import Vocabulary
    from rung.models import open_embedder
    from rung.retrieval.measure.vectors import Space, read_lines

    words = [line.strip() for line in read_lines(listed)] if listed is not None else []
    opened = open_embedder(embedder)
    asked = [*(word for word in words if word), *more]
    if not own and not (isinstance(opened, Vocabulary) and opened.closed):  # only the lexicon's words are looked among
        return Space(list(dict.fromkeys(asked)), opened.embed(list(dict.fromkeys(asked))), opened.embed)
    return Space.of(opened, asked)


def _ranked(found: Sequence[tuple[str, float]], as_json: bool) -> None:
    if as_json:
        _print([{"word": word, "cosine": cosine} for word, cosine in found])
        return
    for word, cosine in found:
        typer.echo(f"{cosine:.4f}  {word}")


def _table(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        _print(rows)
        return
    from rung.core.text.columns import align

    shown = [{key: _show(value) for key, value in row.items()} for row in rows]
    if not shown:
        typer.echo("nothing to show: no section has words that the vectors know")
        return
    typer.echo(align([list(shown[0]), *(list(row.values()) for row in shown)]))


def _show(value: str | int | float | Interval | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _print(value: Any) -> None:
    import json

    from rung.core.codec import encode

    typer.echo(json.dumps(encode(value), ensure_ascii=False, indent=2))
