"""How good a search is, measured on judged queries: BEIR folders read, methods compared on the same queries with
intervals."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rung.core.errors import InputError
from rung.core.types import Case, Document, Interval, Passage, Score
from rung.documents.tables import rows as tables
from rung.documents.tables.layout import Layout
from rung.documents.tables.layout import Row as TableRow
from rung.metrics import stats
from rung.metrics.answers.ranking import Mrr, Ndcg, Ranking, RecallAt
from rung.retrieval.collection.collection import Collection
from rung.retrieval.rank.options import SearchOptions

if TYPE_CHECKING:
    from rung.metrics.stats import Difference

MEASURES: tuple[Ranking, ...] = (Ndcg("10"), RecallAt("100"), Mrr("10"))
DEPTH = 100
"""Documents that are ranked for each query."""
TIMED = 50
"""Queries whose searches are timed."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Documents, queries by id, and for each query the relevant documents with their grades. Queries without any
    relevant document are left out, as trec_eval does; ``unknown`` judgements are of documents that are not there."""

    name: str
    documents: tuple[Document, ...]
    queries: Mapping[str, str]
    relevant: Mapping[str, Mapping[str, float]]
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class Method:
    """A way to search: a name for the table and the Search. ``single``: one retriever alone, to which others are
    compared: those of the same ``group`` (an embedder) and those without one."""

    name: str
    search: SearchOptions
    single: bool = False
    group: str = ""


METHODS = (
    Method("keyword", SearchOptions(mode="keyword"), single=True),
    Method("dense", SearchOptions(mode="dense"), single=True),
    Method("hybrid", SearchOptions()),
    Method("hybrid, equal ranks", SearchOptions(fusion="rrf")),
    Method("hybrid, reranked", SearchOptions(rerank="words")),
)


@dataclass(frozen=True, slots=True)
class MethodResult:
    """A method measured: its scores by metric in the order of the queries, and the median milliseconds of a search
    for ten hits, embedding the query, fetching and highlighting included."""

    method: Method
    scores: Mapping[str, tuple[Score, ...]]
    milliseconds: float
    ranked: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    def interval(self, metric: Ranking) -> Interval:
        return stats.interval(metric, self.scores[metric.name])

    def against(self, other: MethodResult, metric: Ranking) -> Difference:
        """This method minus ``other``, paired by query."""
        return stats.paired(metric, self.scores[metric.name], other.scores[metric.name])


def read(folder: str | Path) -> Judged:
    """A BEIR folder: ``corpus.jsonl`` (_id, title, text), ``queries.jsonl`` (_id, text) and ``qrels.tsv`` or
    ``qrels/test.tsv`` (query-id, corpus-id, score, under a header); each may be gzipped. The title stands before the
    text unless the text begins with it. Raises InputError naming file and line for what is missing or not of that
    form."""
    folder = Path(folder)
    documents = []
    path = _find(folder, "corpus.jsonl")
    for row in tables.rows(path):
        title, text = str(row.values.get("title") or "").strip(), str(row.values.get("text") or "")
        whole = text if not title or text.startswith(title) else f"{title}\n{text}"
        documents.append(Document(_id(row), whole))
    there = {document.id for document in documents}
    if len(there) != len(documents):
        raise InputError("an _id is there twice", remedy="give each document its own", file=path)
    path = _find(folder, "queries.jsonl")
    asked = {_id(row): str(row.values.get("text") or "") for row in tables.rows(path)}
    relevant, unknown = judgements(_find(folder, "qrels.tsv", "qrels/test.tsv"), there)
    queries = {id: text for id, text in asked.items() if id in relevant}
    if not queries:
        raise InputError(
            f"no query of {folder} has a relevant document", remedy="check that qrels name ids of queries and corpus"
        )
    name = folder.parent.name if folder.name == "beir" else folder.name
    return Judged(name, tuple(documents), queries, {id: relevant[id] for id in queries}, unknown)


def judgements(path: Path, there: set[str] | None = None) -> tuple[dict[str, dict[str, float]], int]:
    """Relevant documents with their grades by query, from a tab-separated file; and how many are not in ``there``."""
    found: dict[str, dict[str, float]] = {}
    unknown = 0
    layout = Layout("tsv", header=False, delimiter="\t", quote="none", lenient=True)
    for at in tables.rows(path, layout):
        line, row = at.line, list(at.values.values())
        if line == 1 and row[-1].strip().lower() in ("score", "relevance", "rel"):
            continue
        try:
            query, document, grade = row[0], row[1] if len(row) == 3 else row[2], float(row[-1])
        except (IndexError, ValueError):
            raise InputError(
                f"expected query, document and score, got {row!r}", remedy="correct the line", file=path, line=line
            ) from None
        if there is not None and document not in there:
            unknown += 1
        elif grade > 0:
            found.setdefault(query, {})[document] = grade
    return found, unknown


def _find(folder: Path, *names: str) -> Path:
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise InputError(f"{folder} has no {' or '.join(names)}", remedy="give a folder in BEIR's form")


def _id(row: TableRow) -> str:
    if "_id" not in row.values:
        raise InputError("there is no _id", remedy="correct the line", file=row.file, line=row.line)
    return str(row.values["_id"])


def whole(document: Document) -> list[Passage]:
    """A splitter that cuts nothing: judgements are of documents."""
    return [Passage(document.id, document.id, 0, len(document.text), document.text, document.metadata)]


def evaluate(
    collection: Collection,
    queries: Mapping[str, str],
    relevant: Mapping[str, Mapping[str, float]],
    methods: Sequence[Method] = METHODS,
    measures: Sequence[Ranking] = MEASURES,
    progress: Callable[[str, int], None] = lambda name, done: None,
) -> list[MethodResult]:
    """Search for each query by each method, one query at a time, and score the documents found (a document stands
    where its first passage does)."""
    rows = []
    for method in methods:
        deep = replace(method.search, k=DEPTH, depth=max(DEPTH, method.search.depth))
        scores: dict[str, list[Score]] = {metric.name: [] for metric in measures}
        ranked: dict[str, tuple[str, ...]] = {}
        for done, (id, query) in enumerate(queries.items(), 1):
            found = tuple(dict.fromkeys(hit.passage.document for hit in collection.search(query, deep)))
            ranked[id] = found
            for metric in measures:
                scores[metric.name].append(metric.grade(Case({"query": query}, found, relevant[id])))
            progress(method.name, done)
        seconds = []
        for query in list(queries.values())[:TIMED]:
            began = time.perf_counter()
            collection.search(query, replace(method.search, k=10))
            seconds.append(time.perf_counter() - began)
        rows.append(
            MethodResult(
                method, {name: tuple(values) for name, values in scores.items()}, 1000 * median(seconds), ranked
            )
        )
    return rows


def compare(
    judged: Judged,
    embedders: Sequence[str] = ("static",),
    reranker: str = "words",
    measures: Sequence[Ranking] = MEASURES,
    progress: Callable[[str, int], None] = lambda name, done: None,
) -> list[MethodResult]:
    """The rows of ``evaluate`` for whole documents, indexed in a folder that goes again: keyword once, the others
    for each embedder by name."""
    rows: list[MethodResult] = []
    for place, name in enumerate(embedders):
        methods = [
            replace(
                method,
                name=method.name if method.search.mode == "keyword" else f"{method.name} ({name})",
                search=replace(method.search, rerank=reranker) if method.search.rerank else method.search,
                group="" if method.search.mode == "keyword" else name,
            )
            for method in METHODS
            if place == 0 or method.search.mode != "keyword"
        ]
        with (
            tempfile.TemporaryDirectory(prefix="rung-evaluate-") as folder,
            Collection.create(Path(folder) / "c", embedder=name, chunker=whole) as collection,
        ):
            collection.add(judged.documents)
            rows += evaluate(collection, judged.queries, judged.relevant, methods, measures, progress)
    return rows


def table(rows: Sequence[MethodResult], measures: Sequence[Ranking] = MEASURES) -> list[list[str]]:
    """Lines of cells, the header first: values with 95% intervals, and under the first measure the paired difference
    to the best single retriever of the row's group with its interval."""
    first = measures[0]
    lines = [["method", *(metric.name for metric in measures), f"{first.name} to the best single", "ms"]]
    for row in rows:
        singles = [other for other in rows if other.method.single and other.method.group in ("", row.method.group)]
        best = max(singles, key=lambda other: other.interval(first).value, default=None)
        values = [row.interval(metric) for metric in measures]
        cells = [f"{value.value:.4f} [{value.low:.3f}, {value.high:.3f}]" for value in values]
        if best is None or row is best:
            versus = "best single" if row is best and len(singles) > 1 else ""
        else:
            gap = row.against(best, first)
            versus = f"{gap.value:+.4f} [{gap.low:+.3f}, {gap.high:+.3f}]"
        lines.append([row.method.name, *cells, versus, f"{row.milliseconds:.2f}"])
    return lines
