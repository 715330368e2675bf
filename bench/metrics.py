"""Metrics and their statistics: equal to the peers? how fast? do intervals cover, do tests keep their error rate?

python bench/metrics.py [FILE.jsonl.gz]   (rows with ``source`` and ``target``: lists of sentences, as in SciTLDR; without a
file the texts are docstrings of the standard library)
"""

from __future__ import annotations

import asyncio
import gzip
import importlib
import inspect
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from rung.core.protocols import Metric
from rung.core.types import Case, Score
from rung.metrics import stats
from rung.metrics.answers.exact import ACCURACY
from rung.metrics.labels import MACRO_F1
from rung.metrics.statistics.choice import Contender, choose
from rung.metrics.statistics.sequential import evidence
from rung.metrics.texts.bleu import BLEU, CHRF
from rung.metrics.texts.overlap import TOKEN_F1
from rung.metrics.texts.rouge import rouge

ROUNDS = 5


def load(path: str | None) -> tuple[str, list[tuple[str, str]]]:
    """(what it is, pairs of prediction and reference)."""
    if path is None:
        modules = [
            importlib.import_module(name) for name in ("argparse", "collections", "json", "logging", "random", "string")
        ]
        docs = sorted(
            {doc for m in modules for name in m.__all__ if (doc := inspect.getdoc(getattr(m, name))) and len(doc) > 150}
        )
        return "docstrings", [(a[:900], b[:900]) for a, b in zip(docs, docs[1:] + docs[:1], strict=True)]
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return path.rsplit("/", 1)[-1], [("\n".join(row["source"]), "\n".join(row["target"])) for row in rows[:200]]


def race(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of both, run in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for call, into in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            call()
            into.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def _ours(pairs: list[tuple[str, str]], kinds: tuple[str, ...], stemming: bool) -> None:
    for said, wanted in pairs:
        rouge(said, wanted, kinds, stem=stemming)


def _theirs(pairs: list[tuple[str, str]], scorer: Any) -> None:
    for said, wanted in pairs:
        scorer.score(wanted, said)


def _resampled(metric: Metric, cases: list[Case]) -> None:
    stats.interval(metric, asyncio.run(metric.score(cases)), resamples=1000)


def bench_rouge(pairs: list[tuple[str, str]]) -> None:
    from rouge_score import rouge_scorer

    words = statistics.median(len(a.split()) + len(b.split()) for a, b in pairs)
    print(f"\nROUGE against rouge-score {version('rouge-score')}: {len(pairs)} pairs, median {words:.0f} words a pair")
    cases = {"1, 2, L": {"rouge1": "1", "rouge2": "2", "rougeL": "l"}, "Lsum": {"rougeLsum": "lsum"}}
    for title, kinds in cases.items():
        for stemming in (False, True):
            scorer = rouge_scorer.RougeScorer(list(kinds), use_stemmer=stemming)
            worst = 0.0
            for said, wanted in pairs:
                theirs = scorer.score(wanted, said)
                ours = rouge(said, wanted, tuple(kinds.values()), stem=stemming)
                for name, kind in kinds.items():
                    mine = (ours[kind].precision, ours[kind].recall, ours[kind].f1)
                    worst = max(worst, *(abs(a - b) for a, b in zip(mine, theirs[name], strict=True)))
            some = pairs[:60]
            own, peer = race(partial(_ours, some, tuple(kinds.values()), stemming), partial(_theirs, some, scorer))
            stem = "stemmed" if stemming else "plain"
            print(
                f"  {title:8} {stem:8} ours {len(some) / own:8.0f}/s  peer {len(some) / peer:7.0f}/s  "
                f"ratio {peer / own:5.1f}x  largest difference {worst:g}"
            )


def bench_bleu(pairs: list[tuple[str, str]]) -> None:
    import sacrebleu

    print(
        f"\nBLEU, chrF against sacrebleu {version('sacrebleu')}: corpus of {len(pairs)}, and 1,000 bootstrap resamples"
    )
    cases = [Case({}, a, b) for a, b in pairs]
    said, wanted = [a for a, _ in pairs], [[b for _, b in pairs]]
    for metric, peer in ((BLEU, sacrebleu.BLEU()), (CHRF, sacrebleu.CHRF())):
        scores = asyncio.run(metric.score(cases))
        apart = abs(100 * float(metric.reduce(scores)[0]) - peer.corpus_score(said, wanted).score)
        own, other = race(
            partial(_resampled, metric, cases), partial(peer.corpus_score, said, wanted, n_bootstrap=1000)
        )
        print(
            f"  {metric.name:5} ours {own:6.2f} s  peer {other:6.2f} s  ratio {other / own:4.1f}x  difference {apart:.1e}"
        )


def bench_bootstrap() -> None:
    import scipy.stats

    rng = np.random.default_rng(0)
    n = 1000
    values = rng.random(n)
    graded = [Score(float(v)) for v in values]
    other = [Score(float(v)) for v in rng.random(n)]
    binary = [Score(float(v > 0.4)) for v in values]
    labels = rng.integers(0, 77, n)
    said = np.where(rng.random(n) < 0.7, labels, rng.integers(0, 77, n))
    pairs = [Score(0.0, "", (float(a), float(b))) for a, b in zip(labels, said, strict=True)]
    parts = [Score(0.0, "", tuple(map(float, rng.integers(1, 20, 10)))) for _ in range(n)]
    print(f"\nIntervals of 1,000 items, 10,000 resamples; median of {ROUNDS} (scipy {scipy.__version__})")
    rows: list[tuple[str, Callable[[], object]]] = [
        ("mean, BCa", lambda: stats.interval(TOKEN_F1, graded)),
        ("mean, percentile", lambda: stats.interval(TOKEN_F1, graded, method="percentile")),
        ("mean of 0/1 (Wilson)", lambda: stats.interval(ACCURACY, binary)),
        ("mean of 0/1, BCa forced", lambda: stats.interval(ACCURACY, binary, method="bca")),
        ("paired difference and p", lambda: stats.paired(TOKEN_F1, graded, other)),
        ("paired 0/1 (Tango, McNemar)", lambda: stats.paired(ACCURACY, binary, binary[::-1])),
        ("macro-F1 of 77 labels, BCa", lambda: stats.interval(MACRO_F1, pairs)),
        ("BLEU, BCa", lambda: stats.interval(BLEU, parts)),
    ]
    for name, call in rows:
        own, peer = race(
            call, lambda: scipy.stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile")
        )
        print(f"  {name:28} {own:8.4f} s   (scipy, mean, percentile: {peer:.3f} s)")


def bench_coverage() -> None:
    import scipy.stats

    print("\nShare of 95% intervals that cover the truth (2,000 samples each, Wilson exactly; macro-F1 500)")
    rng = np.random.default_rng(1)
    print("     n   graded BCa  percentile   Wilson p=.5  p=.7  p=.9   Tango .2/.1  .1/.1  .05/.02   paired graded BCa")
    for n in (50, 100, 200, 400):
        row = [f"  {n:4}"]
        u = rng.random((2000, n))
        graded = np.where(u < 0.3, 0.0, np.where(u < 0.6, 1.0, rng.beta(2, 3, (2000, n))))
        for method in ("bca", "percentile"):
            found = [
                stats.interval(TOKEN_F1, [Score(v) for v in x.tolist()], resamples=1000, method=method) for x in graded
            ]
            row.append(f"{np.mean([i.low <= 0.46 <= i.high for i in found]):10.3f}")
        for p in (0.5, 0.7, 0.9):
            spans = [stats.wilson(k, n) for k in range(n + 1)]
            chances = scipy.stats.binom.pmf(np.arange(n + 1), n, p)
            row.append(f"{sum(c for c, i in zip(chances, spans, strict=True) if i.low <= p <= i.high):8.3f}")
        for a, b in ((0.2, 0.1), (0.1, 0.1), (0.05, 0.02)):
            spans = [stats.tango(x, y, n) for x, y, _ in rng.multinomial(n, [a, b, 1 - a - b], 2000).tolist()]
            row.append(f"{np.mean([i.low <= a - b <= i.high for i in spans]):8.3f}")
        hits = 0
        for _ in range(2000):
            shared = rng.normal(size=n)
            one, two = (np.clip(0.6 + 0.3 * shared + 0.2 * rng.normal(size=n), 0, 1) for _ in range(2))
            change = stats.paired(
                TOKEN_F1, [Score(v) for v in one.tolist()], [Score(v) for v in two.tolist()], resamples=300
            )
            hits += change.low <= 0 <= change.high
        print(" ".join([*row, f"{hits / 2000:12.3f}"]), flush=True)
    print("  macro-F1:  labels     n   BCa   percentile")
    for count, n in ((3, 100), (12, 150), (12, 400), (77, 400), (77, 3080)):
        rates = np.linspace(0.55, 0.85, count)
        joint = np.outer((1 - rates) / count, np.ones(count))
        joint[np.diag_indices(count)] += rates
        joint /= count
        truth = float(np.mean(2 * np.diag(joint) / (joint.sum(0) + joint.sum(1))))
        hits2: dict[stats.Method, int] = {"bca": 0, "percentile": 0}
        trials = 500 if n < 1000 else 100
        for _ in range(trials):
            labels = rng.integers(0, count, n)
            said = np.where(rng.random(n) < rates[labels], labels, rng.integers(0, count, n))
            scores = [Score(0.0, "", (float(a), float(b))) for a, b in zip(labels, said, strict=True)]
            for method in hits2:
                span = stats.interval(MACRO_F1, scores, resamples=500, method=method)
                hits2[method] += span.low <= truth <= span.high
        print(
            f"            {count:6} {n:5} {hits2['bca'] / trials:6.3f} {hits2['percentile'] / trials:8.3f}", flush=True
        )


def bench_sequential() -> None:
    tolerance, races, items = 0.02, 2000, 500
    print(
        f"\nFutility stop: {races} races of {items} items, tolerance {tolerance}, alpha 0.05, a look after every item"
    )
    print("  true gap   items decided alike: 0          0.5         0.8     (share stopped, median item)")
    rng = np.random.default_rng(2)
    for gap in (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3):
        cells = []
        for alike in (0.0, 0.5, 0.8):
            at = []
            for _ in range(races):
                rival = rng.random(items)
                mine = np.where(rng.random(items) < alike, rival, rng.random(items))
                path = evidence((mine < 0.75 - gap).astype(float) - (rival < 0.75), tolerance)
                crossed = np.flatnonzero(path >= np.log(20))
                if crossed.size:
                    at.append(int(crossed[0]) + 1)
            cells.append(f"{len(at) / races:.3f} {statistics.median(at) if at else 0:5.0f}")
        within = "within tolerance" if gap <= tolerance else ""
        print(f"  {gap:8.2f}            " + "   ".join(cells) + f"   {within}", flush=True)


def bench_choice() -> None:
    print("\nChoice over 200 simulated tables of 3 to 10 rungs, true qualities known (level 0.95)")
    print("  items  tolerance   within tolerance   all losses hold   shown   dominated   was the cheapest within")
    for n, tolerance in ((150, 0.02), (150, 0.05), (400, 0.03), (400, 0.05), (1000, 0.03), (1000, 0.05), (3000, 0.02)):
        rng = np.random.default_rng(7)
        counts = np.zeros(5)
        for t in range(200):
            k = int(rng.integers(3, 11))
            quality, costs = np.clip(rng.normal(0.7, 0.08, k), 0.05, 0.97), np.exp(rng.normal(0, 2, k))
            if t % 2:
                quality, costs = np.sort(quality), np.sort(costs)
            shared, own = rng.random((n, 1)), rng.random((n, k))
            right = (np.where(rng.random((n, k)) < 0.6, shared, own) < quality).astype(float)
            rungs = [Contender(str(i), [Score(v) for v in right[:, i].tolist()], float(costs[i])) for i in range(k)]
            found = choose(ACCURACY, rungs, tolerance=tolerance, resamples=4000, seed=t)
            i, seen = int(found.name), right.mean(axis=0)
            better = (costs <= costs[i]) & (seen >= seen[i]) & ((costs < costs[i]) | (seen > seen[i]))
            good = quality >= quality.max() - tolerance
            held = [quality.max() - quality[j] <= (s.loss or 0.0) + 1e-9 for j, s in enumerate(found.standings)]
            counts += [good[i], all(held), found.shown, better.any(), costs[i] <= costs[good].min()]
        a, b, c, d, e = counts / 200
        print(f"  {n:5} {tolerance:9.2f} {a:16.3f} {b:17.3f} {c:11.3f} {d:8.3f} {e:16.3f}", flush=True)


def main() -> None:
    name, pairs = load(sys.argv[1] if len(sys.argv) > 1 else None)
    print(f"texts: {name}; Python {sys.version.split()[0]}, numpy {np.__version__}")
    bench_rouge(pairs)
    bench_bleu(pairs)
    bench_bootstrap()
    bench_sequential()
    bench_choice()
    bench_coverage()


if __name__ == "__main__":
    main()
