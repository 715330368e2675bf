"""Recommendation on vectors: packages like this one, against recommending what is popular.

apt-cache dumpavail | python bench/packages.py      (or: python bench/packages.py PACKAGES_FILE)

A Debian package that depends on several python3-* packages says that these go together. For each of a fifth of such packages
one dependency is given and another is to be found among ten recommendations; the other four fifths are learned from. Vectors:
descriptions under the static embedder; and the singular vectors of ln(1 + how often two packages go together), 64 dimensions,
whose inner products approximate that matrix, popularity included. An index that ranks by cosine finds largest inner products
when each item gets one more component that makes all lengths equal (Bachrach et al., RecSys 2014). A package that was never
seen in training asks with the mean of all. Hit rates with Wilson's interval, differences to
popularity with Tango's, paired; test packages of one source package are not independent, so one is kept a source.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rung.core.types import Case
from rung.metrics import stats
from rung.metrics.answers.ranking import HitRate
from rung.models.embed import open_embedder, unit
from rung.retrieval.index import open_index
from rung.retrieval.rank.fuse import fuse

WIDTH = 64


def stanzas(text: str) -> Iterator[dict[str, str]]:
    for block in text.split("\n\n"):
        yield dict(re.findall(r"^(Package|Source|Depends|Description(?:-en)?): (.*)$", block, re.MULTILINE))


def main() -> None:
    text = Path(sys.argv[1]).read_text() if len(sys.argv) > 1 else sys.stdin.read()
    about: dict[str, str] = {}
    baskets: dict[str, tuple[str, ...]] = {}
    for fields in stanzas(text):
        name = fields.get("Package", "")
        if name.startswith("python3-"):
            about[name] = fields.get("Description", fields.get("Description-en", ""))
        needs = {part.split()[0].split(":")[0] for part in re.split(r"[,|]", fields.get("Depends", "")) if part.strip()}
        wanted = tuple(
            sorted(need for need in needs if need.startswith("python3-") and need != "python3-pkg-resources")
        )
        if len(wanted) > 1:
            baskets.setdefault(fields.get("Source", name).split()[0], wanted)
    rng = random.Random(0)
    sources = sorted(baskets)
    rng.shuffle(sources)
    cut = len(sources) // 5
    train = [baskets[source] for source in sources[cut:]]
    items = sorted(about)
    known = set(items)
    asked = []
    for source in sources[:cut]:
        held = [item for item in baskets[source] if item in known]
        if len(held) > 1:
            given, wanted_item = rng.sample(held, 2)
            asked.append((given, wanted_item))
    counts = Counter(item for basket in train for item in basket if item in known)
    popular = [item for item, _ in counts.most_common()]
    print(f"{len(items):,} packages, {len(train):,} sources to learn from, {len(asked)} pairs to find")

    together = co_occurrence(train, {item: place for place, item in enumerate(items)})
    described = open_embedder("static").embed([f"{item.removeprefix('python3-')}: {about[item]}" for item in items])
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Callable[[str], list[tuple[str, float]]]] = {}
        for name, (vectors, asking) in (("descriptions", (described, described)), ("going together", together)):
            index = open_index("exact", Path(folder) / name.replace(" ", "-"), vectors.shape[1])
            index.add(items, vectors)
            rows = dict(zip(items, asking, strict=True))

            def near(item: str, index=index, rows=rows) -> list[tuple[str, float]]:  # type: ignore[no-untyped-def]
                return [hit for hit in index.search(rows[item][None], 51)[0] if hit[0] != item]

            found[name] = near
        methods: dict[str, Callable[[str], list[str]]] = {
            "popularity": lambda item: [other for other in popular[:11] if other != item],
            "descriptions": lambda item: [id for id, _ in found["descriptions"](item)],
            "going together": lambda item: [id for id, _ in found["going together"](item)],
            "both (ranks)": lambda item: [
                id for id, _ in fuse(found["descriptions"](item), found["going together"](item), "rrf")
            ],
        }
        metric = HitRate("10")
        scores = {
            name: [metric.grade(Case({}, recommend(given), [wanted_item])) for given, wanted_item in asked]
            for name, recommend in methods.items()
        }
    print("\n| recommended by | hit@10 | to popularity |\n|---|---|---|")
    for name, values in scores.items():
        value, gap = stats.interval(metric, values), stats.paired(metric, values, scores["popularity"])
        versus = "" if name == "popularity" else f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] p {gap.p:.2g}"
        print(f"| {name} | {value.value:.3f} [{value.low:.3f}, {value.high:.3f}] | {versus} |")


def co_occurrence(
    baskets: list[tuple[str, ...]], places: dict[str, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit rows (items, WIDTH + 1): to put into the index, and to ask with."""
    from scipy.sparse import coo_matrix
    from sklearn.decomposition import TruncatedSVD

    pairs = [
        (places[one], places[other])
        for basket in baskets
        for one, other in permutations(basket, 2)
        if one in places and other in places
    ]
    rows, columns = (np.array(side) for side in zip(*pairs, strict=True))
    size = len(places)
    counts = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(size, size)).tocsr()
    counts.data = np.log1p(counts.data)
    model = TruncatedSVD(WIDTH, random_state=0)
    asking = model.fit_transform(counts)
    held = model.components_.T
    length = np.linalg.norm(held, axis=1)
    rest = np.sqrt(np.maximum(length.max() ** 2 - length**2, 0))
    asking[~asking.any(axis=1)] = asking.mean(axis=0)
    padded = np.hstack([asking, np.zeros((size, 1))]).astype(np.float32)
    return unit(np.hstack([held, rest[:, None]]).astype(np.float32)), unit(padded)


if __name__ == "__main__":
    main()
