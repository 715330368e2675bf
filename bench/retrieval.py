"""How good is each way to search on judged public sets, and how fast?

python bench/retrieval.py [DATA] [--sets cranfield,cisi,adi,dbpedia_mini] [--embedders static,minilm] [--sentences] [--qa]
    [--model]

DATA (or RUNG_DATA) is a folder of sets: ``cranfield/beir`` and so on in BEIR's form; ``--qa`` reads ``xquad_en``, ``stsb``
and ``banking77``; ``--model`` reads ``xquad_en`` and runs the embedded language model.
``--sentences`` adds a reranker by the best sentence under minilm. The prior of adaptive fusion was fitted without these sets
(bench/fusion.py).
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import json
import os
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rung.core.settings import Settings
from rung.core.types import Case, Document
from rung.metrics import stats
from rung.metrics.answers.ranking import HitRate, Mrr, Ndcg, Ranking, RecallAt
from rung.models import Pool
from rung.models.embed import open_embedder
from rung.prompts.patterns.checking.refine import refine
from rung.retrieval.collection.collection import Collection
from rung.retrieval.measure import evaluate
from rung.retrieval.measure.evaluate import MEASURES, Judged, Method, MethodResult, compare, read, table, whole
from rung.retrieval.rank.options import SearchOptions
from rung.retrieval.rank.rerank import judge

SETS = "cranfield,cisi,adi,dbpedia_mini"


def show(lines: Sequence[Sequence[str]]) -> None:
    print("| " + " | ".join(lines[0]) + " |\n|" + "---|" * len(lines[0]))
    for line in lines[1:]:
        print("| " + " | ".join(line) + " |")
    print(flush=True)


def xquad(data: Path) -> Judged:
    """Each question's paragraph."""
    documents: list[Document] = []
    queries: dict[str, str] = {}
    relevant: dict[str, dict[str, float]] = {}
    with gzip.open(data / "xquad_en/xquad.en.json.gz", "rt") as stream:
        for article in json.load(stream)["data"]:
            for paragraph in article["paragraphs"]:
                id = f"p{len(documents)}"
                documents.append(Document(id, paragraph["context"]))
                for asked in paragraph["qas"]:
                    queries[asked["id"]] = asked["question"]
                    relevant[asked["id"]] = {id: 1.0}
    return Judged("xquad-en, paragraph of the question", tuple(documents), queries, relevant)


def paraphrases(data: Path) -> Judged:
    """Pairs of STS-B's test and dev parts that people scored 4 or more of 5 and whose words differ by a third at least: one
    sentence finds the other among all second sentences."""
    documents: list[Document] = []
    queries: dict[str, str] = {}
    relevant: dict[str, dict[str, float]] = {}
    by_text: dict[str, str] = {}
    for name in ("sts-test.csv", "sts-dev.csv"):
        for line in (data / "stsb" / name).read_text().splitlines():
            row = line.split("\t")
            if len(row) < 7:
                continue
            one, other = row[5], row[6]
            if other not in by_text:
                by_text[other] = f"s{len(by_text)}"
                documents.append(Document(by_text[other], other))
            a, b = (set(text.lower().rstrip(".").split()) for text in (one, other))
            if float(row[4]) >= 4 and len(a & b) <= 2 / 3 * len(a | b):
                id = f"{name}-{len(queries)}"
                queries[id], relevant[id] = one, {by_text[other]: 1.0}
    return Judged("stsb, paraphrased sentence", tuple(documents), queries, relevant)


def intents(data: Path) -> Judged:
    """A customer's message finds messages of the same intent (banking77, 400 of test against train)."""
    with gzip.open(data / "banking77/train.csv.gz", "rt") as stream:
        train = [(row["text"], row["category"]) for row in csv.DictReader(stream)]
    with (data / "banking77/test.csv").open() as stream:
        test = [(row["text"], row["category"]) for row in csv.DictReader(stream)]
    same: dict[str, dict[str, float]] = {}
    for place, (_, label) in enumerate(train):
        same.setdefault(label, {})[str(place)] = 1.0
    chosen = random.Random(0).sample(test, 400)
    return Judged(
        "banking77, messages of the same intent",
        tuple(Document(str(place), text) for place, (text, _) in enumerate(train)),
        {f"q{place}": text for place, (text, _) in enumerate(chosen)},
        {f"q{place}": same[label] for place, (_, label) in enumerate(chosen)},
    )


def embedders(judged: Judged, names: Sequence[str], measures: Sequence[Ranking], limit: int) -> None:
    """Keyword search, and dense and hybrid search with each embedder: each to keyword search and to the first embedder."""
    queries = (
        {id: judged.queries[id] for id in random.Random(0).sample(sorted(judged.queries), limit)}
        if limit
        else judged.queries
    )
    rows: list[tuple[MethodResult, float]] = []
    for place, name in enumerate(names):
        methods = [
            Method(f"dense ({name})", SearchOptions(mode="dense"), True),
            Method(f"hybrid ({name})", SearchOptions()),
        ]
        if not place:
            methods.insert(0, Method("keyword", SearchOptions(mode="keyword"), True))
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            with Collection.create(Path(folder) / "c", embedder=open_embedder(name), chunker=whole) as collection:
                collection.add(judged.documents)
                built = time.perf_counter() - began
                rows += [
                    (row, built) for row in evaluate.evaluate(collection, queries, judged.relevant, methods, measures)
                ]
    print(f"### {judged.name}: {len(judged.documents):,} texts, {len(queries)} queries\n")
    lines = [
        [
            "method",
            *(metric.name for metric in measures),
            f"{measures[0].name} to keyword",
            f"to {rows[1][0].method.name}",
            "ms",
        ]
    ]
    for row, _ in rows:
        cells = [f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" for value in map(row.interval, measures)]
        for other in (rows[0][0], rows[1][0]):
            gap = row.against(other, measures[0])
            cells.append("" if row is other else f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]")
        lines.append([row.method.name, *cells, f"{row.milliseconds:.2f}"])
    show(lines)


async def language_model(judged: Judged, limit: int) -> None:
    """Two uses of the embedded language model, paired with going without: the question rewritten before it is searched for
    (prompts.refine), and the first ten passages asked of one by one (rerank.judge)."""
    pool = Pool(Settings())
    model = pool.model("openvino:smollm2-135m")
    queries = {id: judged.queries[id] for id in random.Random(0).sample(sorted(judged.queries), limit)}
    began = time.perf_counter()
    refined = await asyncio.gather(*(refine(model, query) for query in queries.values()))
    seconds = time.perf_counter() - began
    changed = sum(found.question != found.original for found in refined)
    print(f"### {judged.name}: {len(queries)} questions, {changed} rewritten ({seconds / limit:.2f} s each)\n")
    again = {id: found.question for id, found in zip(queries, refined, strict=True)}
    measures: tuple[Ranking, ...] = (RecallAt("5"), HitRate("1"), Mrr("10"))
    with (
        tempfile.TemporaryDirectory() as folder,
        Collection.create(Path(folder) / "c", embedder="static", chunker=whole) as collection,
    ):
        collection.add(judged.documents)
        lines = [["method", *(metric.name for metric in measures), "recall:5 to the question as asked", "mrr:10 to it"]]
        for method in (
            Method("keyword", SearchOptions(mode="keyword")),
            Method("dense (static)", SearchOptions(mode="dense")),
            Method("hybrid (static)", SearchOptions()),
        ):
            (asked,) = evaluate.evaluate(collection, queries, judged.relevant, [method], measures)
            (better,) = evaluate.evaluate(collection, again, judged.relevant, [method], measures)
            for row, name in ((asked, method.name), (better, f"{method.name}, refined question")):
                cells = [
                    f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" for value in map(row.interval, measures)
                ]
                gaps = [row.against(asked, metric) for metric in (measures[0], measures[2])]
                lines.append([name, *cells, *(f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]" for gap in gaps)])
        show(lines)
        found = {id: collection.search(query, SearchOptions(mode="keyword", k=10)) for id, query in queries.items()}
    began = time.perf_counter()
    judged_hits = await asyncio.gather(*(judge(model, queries[id], hits) for id, hits in found.items()))
    seconds = time.perf_counter() - began
    before, after = (
        [
            measures[2].grade(Case({}, [hit.passage.document for hit in hits], judged.relevant[id]))
            for id, hits in zip(queries, lists, strict=True)
        ]
        for lists in (found.values(), judged_hits)
    )
    gap = stats.paired(measures[2], after, before)
    print(
        f"keyword search reranked by the model's yes or no (10 passages, {seconds / limit:.2f} s a question): mrr:10 "
        f"{stats.interval(measures[2], after).value:.3f} against {stats.interval(measures[2], before).value:.3f}: "
        f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
    )
    await pool.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=os.environ.get("RUNG_DATA", ""))
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--embedders", default="static,minilm")
    parser.add_argument("--sentences", action="store_true")
    parser.add_argument("--qa", action="store_true")
    parser.add_argument(
        "--model", action="store_true", help="the embedded language model: refined questions, reranking"
    )
    parser.add_argument("--limit", type=int, default=0, help="queries of each --qa set; 0: all")
    options = parser.parse_args()
    data, names = Path(options.data), options.embedders.split(",")
    if options.model:
        asyncio.run(language_model(xquad(data), options.limit or 80))
        return
    if options.qa:
        five: tuple[Ranking, ...] = (RecallAt("5"), HitRate("1"), Ndcg("10"))
        ten: tuple[Ranking, ...] = (Ndcg("10"), HitRate("1"))
        for judged, measures in ((xquad(data), five), (paraphrases(data), ten), (intents(data), ten)):
            embedders(judged, names, measures, min(options.limit, len(judged.queries)))
        return
    for name in filter(None, options.sets.split(",")):
        judged = read(data / name / "beir")
        rows = compare(judged, names)
        if options.sentences:
            last = names[-1]
            method = Method(
                f"hybrid ({last}), best sentence", SearchOptions(rerank=f"sentences:{last}", depth=20), group=last
            )
            with (
                tempfile.TemporaryDirectory() as folder,
                Collection.create(Path(folder) / "c", embedder=last, chunker=whole) as collection,
            ):
                collection.add(judged.documents)
                rows += evaluate.evaluate(collection, judged.queries, judged.relevant, [method])
        print(f"### {judged.name}: {len(judged.documents):,} documents, {len(judged.queries)} queries\n")
        lines = table(rows, MEASURES)
        show(lines)


if __name__ == "__main__":
    main()
