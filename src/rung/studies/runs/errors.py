"""Error analysis: a rung's failures in clusters, named by what sets them apart, sized, and openable as slices."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rung.core.codec import spell
from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.system import files
from rung.core.types import Interval, Result, text_of
from rung.ladder.export import choose
from rung.ladder.history import find_rung, read_results
from rung.ladder.records import RunRecord
from rung.metrics.stats import wilson
from rung.studies.study import Lab, Study

WORST = 1.0
"""A score below this is a failure."""


@dataclass(frozen=True, slots=True)
class ErrorCluster:
    """Failures that are alike. ``terms`` are the words that set them apart from everything else that was asked,
    ``confusion`` the commonest pair of reference and answer with its count. ``rate`` is the share of failures among all
    items that hold one of the terms (which were chosen for the failures, so a hint, not a test), ``size`` how many
    failures."""

    name: str
    ids: tuple[str, ...]
    terms: tuple[str, ...]
    confusion: tuple[str, str, int]
    rate: Interval
    examples: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Errors:
    """All failures of a rung: ``total`` items, ``failed`` of them, in ``clusters``, the largest first."""

    metric: str
    total: int
    failed: int
    clusters: tuple[ErrorCluster, ...]
    rung: str = ""
    written: str = ""
    """What was written of one cluster, where that was asked for."""


def analyse(results: Sequence[Result], metric: str, *, most: int = 8, seed: int = 0) -> Errors:
    """Cluster the failures by their words (TF-IDF, k-means; the number of clusters by the silhouette, Rousseeuw 1987).

    Answers that could not be read (a parse or model failure) form clusters of their own, named by the failure.
    """
    failed = [r for r in results if r.answer.failure is not None or r.scores[metric].value < WORST]
    broken: dict[str, list[Result]] = {}
    wrong = []
    for result in failed:
        if result.answer.failure is not None:
            broken.setdefault(f"{result.answer.failure.where} failure", []).append(result)
        else:
            wrong.append(result)
    clusters = [_cluster(name, part, results, metric, ()) for name, part in broken.items()]
    clusters += _grouped(wrong, results, metric, most, seed)
    clusters.sort(key=lambda cluster: (-cluster.size, cluster.name))
    names: Counter[str] = Counter()
    unique = []
    for cluster in clusters:
        names[cluster.name] += 1
        count = names[cluster.name]
        name = cluster.name if count == 1 else f"{cluster.name} {count}"
        unique.append(ErrorCluster(name, cluster.ids, cluster.terms, cluster.confusion, cluster.rate, cluster.examples))
    return Errors(metric, len(results), len(failed), tuple(unique))


def _grouped(
    wrong: Sequence[Result], results: Sequence[Result], metric: str, most: int, seed: int
) -> list[ErrorCluster]:
    if not wrong:
        return []
    if len(wrong) < 6:
        return [_cluster("wrong answers", wrong, results, metric, ())]
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics import silhouette_score

    texts = [text_of(result.example.input) for result in results]
    vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=1, max_features=20_000)
    try:
        everything = vectorizer.fit_transform(texts)
    except ValueError:  # nothing but stop words
        return [_cluster("wrong answers", wrong, results, metric, ())]
    place = {id(result): row for row, result in enumerate(results)}
    rows = everything[[place[id(result)] for result in wrong]]
    best, labels = -1.0, np.zeros(len(wrong), np.intp)
    for k in range(2, min(most, len(wrong) // 3) + 1):
        found = KMeans(k, n_init=4, random_state=seed).fit_predict(rows)
        if len(set(found.tolist())) < 2:
            continue
        score = float(silhouette_score(rows, found, metric="cosine"))
        if score > best:
            best, labels = score, found
    words = vectorizer.get_feature_names_out()
    base = np.asarray(everything.mean(axis=0)).ravel()
    out = []
    for label in sorted(set(labels.tolist())):
        members = [result for result, mine in zip(wrong, labels.tolist(), strict=True) if mine == label]
        middle = np.asarray(rows[labels == label].mean(axis=0)).ravel()
        top = np.argsort(-(middle - base))[:4]
        terms = tuple(str(words[index]) for index in top if middle[index] > base[index])
        columns = [int(index) for index in top if middle[index] > base[index]]
        holds = np.asarray((everything[:, columns] > 0).sum(axis=1)).ravel() > 0
        around = [result for result, held in zip(results, holds.tolist(), strict=True) if held]
        out.append(_cluster(", ".join(terms[:3]) or "wrong answers", members, around, metric, terms))
    return out


def _cluster(
    name: str, members: Sequence[Result], around: Sequence[Result], metric: str, terms: tuple[str, ...]
) -> ErrorCluster:
    pairs = Counter((_short(r.example.reference), _answered_as(r)) for r in members)
    (reference, output), count = pairs.most_common(1)[0]
    bad = sum(r.answer.failure is not None or r.scores[metric].value < WORST for r in around)
    return ErrorCluster(
        name,
        tuple(r.example.id for r in members),
        terms,
        (reference, output, count),
        wilson(bad, max(1, len(around))),
        tuple(_short(text_of(r.example.input), 100) for r in members[:3]),
    )


def _answered_as(result: Result) -> str:
    """The answer; of one that failed what went wrong, in whole."""
    failure = result.answer.failure
    return _short(result.answer.output) if failure is None else f"[{failure.where}] {_short(failure.message, 400)}"


def _short(value: object, limit: int = 40) -> str:
    text = " ".join((value if isinstance(value, str) else spell(value)).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True)
class ErrorAnalysis(Study[RunRecord, Errors]):
    """Cluster a rung's failures, name and size them; write one as a slice that a task file can hold."""

    name = "errors"
    subject = "run"
    records = Errors

    rung: str = argument("A rung of the run (default: the recommended one).", "RUNG", "")
    slice: str = option("", "One cluster, by its name or number, written to --to.", metavar="NAME", flags=("--slice",))
    to: Path | None = option(None, "Where to write the slice's rows: data for a task.", metavar="FILE.jsonl")

    async def measure(self, subject: RunRecord, lab: Lab) -> Errors:
        """Raises InputError for a rung that the run does not have, a cluster that there is not, or a slice without a
        file."""
        title = find_rung(subject, self.rung).title if self.rung else choose(subject).title
        results = await read_results(lab.store, subject, title, lab.resources, what="errors")
        found = replace(analyse(results, subject.metrics[0]), rung=title)
        return replace(found, written=self._write(found, results)) if self.slice else found

    def _write(self, found: Errors, results: Sequence[Result]) -> str:
        numbered = {str(place): cluster for place, cluster in enumerate(found.clusters, 1)}
        cluster = numbered.get(self.slice) or next((c for c in found.clusters if c.name == self.slice), None)
        if cluster is None:
            names = ", ".join(f"{n}: {c.name}" for n, c in numbered.items()) or "none"
            raise InputError(f"there is no cluster {self.slice!r}", remedy=f"known: {names}")
        if self.to is None:
            raise InputError("where to is not said", remedy="add --to slice.jsonl")
        by_id = {result.example.id: result.example for result in results}
        rows = [{"id": id, **by_id[id].input, "reference": by_id[id].reference} for id in cluster.ids]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        files.write_file(self.to, lines.encode())
        return f"{cluster.size} rows of {cluster.name!r} to {self.to}"

    def table(self, found: Errors) -> str:
        if found.written:
            return found.written
        if not found.failed:
            return f"{found.rung}: no failure among {found.total} items"
        lines = [
            f"{found.rung}: {found.failed} of {found.total} items below 1 in {found.metric}, in {len(found.clusters)} clusters"
        ]
        for cluster in found.clusters:
            r = cluster.rate
            reference, output, count = cluster.confusion
            lines += [
                "",
                f"{cluster.name}  ({cluster.size} failures, {cluster.size / found.failed:.0%} of all; of the items with these words "
                f"{r.value:.0%} [{r.low:.0%}, {r.high:.0%}] fail)",
                f"  commonest: {reference} answered as {output} ({count} times)",
                *(f"  - {text}" for text in cluster.examples),
            ]
        return "\n".join(lines)
