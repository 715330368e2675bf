"""What the built-in packs are like: counts, balance, lengths, near-duplicates, and how far trivial baselines get on dev.

    python bench/packs.py

Near-duplicates are looked for in two ways, within and across splits: Jaccard similarity of the sets of word 3-shingles, and
cosine of TF-IDF vectors (words and word pairs). Baselines are fitted on train and scored on dev, so that test stays unseen.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from rung.core.parts import registry
from rung.core.protocols import Context
from rung.core.types import Case, Example, Split, Task
from rung.foundations.baselines.rules import Rules
from rung.tasks import load
from rung.tasks.identity import identity

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
PACKS = ("support-intent", "support-extract", "stdlib-qa")
Predictor = Callable[[Example], Any]


def text(example: Example) -> str:
    """The part of the input that was written: everything but the given date."""
    return " ".join(value for name, value in example.input.items() if name != "today")


def shingles(value: str) -> frozenset[tuple[str, ...]]:
    words = identity(value).split()
    return frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset([tuple(words)])


def table(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    print(f"\n{title}")
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def describe(task: Task) -> None:
    rows: list[tuple[str, ...]] = [("split", "n", "words min", "median", "max", "total")]
    for name in SPLITS:
        lengths = [len(text(example).split()) for example in task.split(name)]
        rows.append(
            (
                name,
                str(len(lengths)),
                str(min(lengths)),
                str(int(statistics.median(lengths))),
                str(max(lengths)),
                str(sum(lengths)),
            )
        )
    table(f"== {task.name}: counts and words", rows)


def balance(task: Task) -> None:
    if task.form.kind == "labels":
        counts = {name: Counter(str(e.reference) for e in task.split(name)) for name in SPLITS}
        rows: list[tuple[str, ...]] = [("label", "train", "dev", "test", "all")]
        for label in task.form.labels:
            numbers = [counts[name][label] for name in counts]
            rows.append((label, *map(str, numbers), str(sum(numbers))))
        table("labels", rows)
    elif task.form.kind == "json":
        rows = [("field given", "train", "dev", "test")]
        for field in task.form.schema["properties"]:
            shares = []
            for name in SPLITS:
                values = [example.reference[field] for example in task.split(name)]
                shares.append(f"{sum(value not in (None, [], False) for value in values) / len(values):.2f}")
            rows.append((field, *shares))
        table("share of messages that state the field", rows)
    else:
        rows = [("kind", "train", "dev", "test")]
        counts = {name: Counter(str(e.metadata["kind"]) for e in task.split(name)) for name in SPLITS}
        for kind in sorted({kind for each in counts.values() for kind in each}):
            rows.append((kind, *(str(counts[name][kind]) for name in counts)))
        table("kinds of question", rows)
        sources = {name: {e.metadata["source"] for e in task.split(name)} for name in SPLITS}
        shared = sum(len(sources[a] & sources[b]) for a, b in combinations(sources, 2))
        known = sum(e.metadata["source"] in task.passages for e in (*task.train, *task.dev, *task.test))
        print(
            f"  source objects that two splits share: {shared}; sources with a passage: {known} of 300; passages: {len(task.passages):,}"
        )


def duplicates(task: Task) -> None:
    items = [(name, example) for name in SPLITS for example in task.split(name)]
    texts = [text(example) for _, example in items]
    exact = len(texts) - len({identity(value) for value in texts})
    sets = [shingles(value) for value in texts]
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)
    cosine = (vectors @ vectors.T).toarray()
    pairs = []
    for a, b in combinations(range(len(items)), 2):
        common = len(sets[a] & sets[b])
        pairs.append((common / len(sets[a] | sets[b]), float(cosine[a, b]), a, b))
    rows: list[tuple[str, ...]] = [("pairs", "jaccard>=.3", ">=.5", ">=.8", "cosine>=.6", ">=.7", ">=.8")]
    for title, across in (("within a split", False), ("across splits", True)):
        chosen = [pair for pair in pairs if (items[pair[2]][0] != items[pair[3]][0]) == across]
        rows.append(
            (title, *(str(sum(pair[0] >= limit for pair in chosen)) for limit in (0.3, 0.5, 0.8)),
             *(str(sum(pair[1] >= limit for pair in chosen)) for limit in (0.6, 0.7, 0.8)))
        )  # fmt: skip
    table(f"near-duplicates among {len(items)} texts (exact after normalising: {exact})", rows)
    across_pairs = [pair for pair in pairs if items[pair[2]][0] != items[pair[3]][0]]
    for jaccard, cos, a, b in sorted(across_pairs, key=lambda pair: -max(pair[0], pair[1]))[:3]:
        print(f"  closest across: jaccard {jaccard:.2f} cosine {cos:.2f}: {texts[a][:70]!r} | {texts[b][:70]!r}")


def rules(task: Task) -> Predictor:
    """The task's own rules, as the rung of that name uses them (it needs nothing of its context)."""
    nothing = cast(Any, None)
    program = asyncio.run(Rules().fit(task, Context(nothing, Path(), nothing)))
    return lambda example: asyncio.run(program(example.input)).output


def classify(task: Task) -> list[tuple[str, Predictor]]:
    texts, labels = [text(e) for e in task.train], [str(e.reference) for e in task.train]
    majority = Counter(labels).most_common(1)[0][0]
    linear = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    ).fit(texts, labels)
    nearest = make_pipeline(TfidfVectorizer(sublinear_tf=True), KNeighborsClassifier(1, metric="cosine")).fit(
        texts, labels
    )
    return [
        ("majority", lambda example: majority),
        ("TF-IDF + logistic", lambda example: linear.predict([text(example)])[0]),
        ("1-NN (TF-IDF)", lambda example: nearest.predict([text(example)])[0]),
        ("rules", rules(task)),
    ]


def copy_nearest(task: Task) -> Predictor:
    vectors = TfidfVectorizer(sublinear_tf=True).fit([text(e) for e in task.train])
    matrix = vectors.transform([text(e) for e in task.train])
    return lambda example: (
        task.train[int(np.argmax((matrix @ vectors.transform([text(example)]).T).toarray()))].reference
    )


def extract(task: Task) -> list[tuple[str, Predictor]]:
    """Baselines for JSON: an empty form, the form of the nearest training message, the task's rules."""
    schema: Mapping[str, Any] = task.form.schema
    empty: dict[str, Any] = {
        name: False if part["type"] == "boolean" else [] if part["type"] == "array" else None
        for name, part in schema["properties"].items()
    }
    return [
        ("empty form", lambda example: empty),
        ("1-NN (copy its form)", copy_nearest(task)),
        ("rules", rules(task)),
    ]


def answer(task: Task) -> list[tuple[str, Predictor]]:
    """Baselines for questions: the nearest training question's answer, the name of the nearest passage."""
    near = copy_nearest(task)
    ids = sorted(task.passages)
    vectors = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit([task.passages[id] for id in ids])
    matrix = vectors.transform([task.passages[id] for id in ids])
    return [
        ("1-NN (its answer)", lambda example: near(example)[0]),
        (
            "nearest passage's name",
            lambda example: ids[int(np.argmax((matrix @ vectors.transform([text(example)]).T).toarray()))],
        ),
    ]


def baselines(task: Task) -> None:
    make = {"labels": classify, "json": extract, "text": answer}[task.form.kind]
    metric = registry.load("metric", task.metrics[0])
    rows: list[tuple[str, ...]] = [(f"baseline ({task.metrics[0]} on dev)", "score")]
    for name, predict in make(task):
        values = []
        for example in task.dev:
            said = predict(example)
            values.append(metric.grade(Case(example.input, said, example.reference)).value)
        rows.append((name, f"{statistics.mean(values):.3f}"))
    table(f"{task.name}", rows)


def main() -> None:
    print(f"python {sys.version.split()[0]}, scikit-learn {sklearn.__version__}")
    for name in PACKS:
        task = load(name)
        print(f"\n{'=' * 100}\n{name}  hash {task.hash}  {json.dumps(list(task.metrics))}")
        describe(task)
        balance(task)
        duplicates(task)
        baselines(task)


if __name__ == "__main__":
    main()
