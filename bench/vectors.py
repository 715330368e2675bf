"""Word vectors against WordNet: are neighbours near there too, and how many analogies built from it come out right?

    python bench/vectors.py --wordnet FOLDER [--embedders static,words:glove?limit=50000] [--freedict FILE.dict.dz]

FOLDER holds WordNet 3.0's dict files (Debian's wordnet-base: /usr/share/wordnet). Neighbours: for 20 probe words the mean
WordNet path similarity (the best over noun senses) of their 10 nearest nouns, beside that of 50 nouns drawn at random from the
same vocabulary; the p-value is of a sign-flip permutation test over the probes. Analogies: two pairs of one relation that
WordNet has between words, among common words: antonyms, adverb and adjective, verb or adjective and the noun derived from it.
FILE.dict.dz is FreeDict's English-French dictionary (Debian's dict-freedict-eng-fra): Procrustes alignment.
"""

from __future__ import annotations

import argparse
import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np

PROBES = [
    "king",
    "dog",
    "car",
    "river",
    "bread",
    "doctor",
    "music",
    "house",
    "money",
    "winter",
    "apple",
    "ship",
    "teacher",
    "red",
    "anger",
    "city",
    "gold",
    "war",
    "book",
    "mother",
]


class WordNet:
    """Senses, hypernyms, antonyms and derivations, read off the files as wndb(5WN) describes them."""

    def __init__(self, folder: Path) -> None:
        self.senses: dict[str, list[str]] = {}
        self.words: dict[str, list[str]] = {}
        self.up: dict[str, list[str]] = {}
        self.links: list[tuple[str, str, str, str]] = []  # kind, part of speech, word, word
        lexical: list[tuple[str, str, str, str, int]] = []
        for part, tag in (("noun", "n"), ("verb", "v"), ("adj", "a"), ("adv", "r")):
            for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
                if line.startswith("  "):
                    continue
                fields = line.partition("|")[0].split()
                offset, count = fields[0], int(fields[3], 16)
                names = [re.sub(r"\(\w+\)$", "", fields[4 + 2 * i]).lower() for i in range(count)]
                key = f"{tag}{offset}"
                self.words[key] = names
                for name in names:
                    self.senses.setdefault(name, []).append(key)
                at = 4 + 2 * count
                for _ in range(int(fields[at])):
                    symbol, target, pos, ends = fields[at + 1 : at + 5]
                    other = f"{'a' if pos == 's' else pos}{target}"
                    if symbol in ("@", "@i"):
                        self.up.setdefault(key, []).append(other)
                    elif ends != "0000" and symbol in ("!", "\\", "+"):
                        lexical.append((symbol, key, other, ends, 0))
                    at += 4
        for symbol, one, two, ends, _ in lexical:
            a = self.words[one][int(ends[:2], 16) - 1]
            b = self.words[two][int(ends[2:], 16) - 1]
            self.links.append((symbol + one[0] + two[0], one[0], a, b))

    def above(self, sense: str) -> dict[str, int]:
        """Every hypernym of a sense and its distance."""
        found, edge = {sense: 0}, [sense]
        while edge:
            edge = [
                up
                for sense in edge
                for up in self.up.get(sense, ())
                if found.setdefault(up, found[sense] + 1) == found[sense] + 1
            ]
            if len(found) > 500:
                break
        return found

    def path(self, one: str, two: str) -> float:
        """1 / (1 + edges of the shortest way over hypernyms), the best over noun senses; 0 where there is none."""
        best = 0.0
        for a in self.senses.get(one, ()):
            if a[0] != "n":
                continue
            mine = self.above(a)
            for b in self.senses.get(two, ()):
                if b[0] == "n":
                    theirs = self.above(b)
                    shared = mine.keys() & theirs.keys()
                    if shared:
                        best = max(best, 1 / (1 + min(mine[s] + theirs[s] for s in shared)))
        return best


def neighbours(space: Any, net: WordNet, k: int = 10) -> None:
    from rung.metrics.stats import permutation

    rng = np.random.default_rng(0)
    nouns = [w for w in space.words if w.islower() and len(w) > 2 and any(s[0] == "n" for s in net.senses.get(w, ()))]
    real, chance = [], []
    for probe in PROBES:
        found = [w for w, _ in space.nearest(space.vector(probe), 200, (probe,)) if w in set_of(nouns)][:k]
        real.append(float(np.mean([net.path(probe, word) for word in found])))
        chance.append(float(np.mean([net.path(probe, nouns[i]) for i in rng.integers(0, len(nouns), 50)])))
        print(f"  {probe:8} {real[-1]:.3f} against {chance[-1]:.3f}   {' '.join(found[:6])}")
    p = permutation(np.array(real) - np.array(chance))
    print(
        f"path similarity {np.mean(real):.3f} against {np.mean(chance):.3f} at random, p {p:.2g} over {len(PROBES)} probes"
    )


_SETS: dict[int, set[str]] = {}


def set_of(words: list[str]) -> set[str]:
    return _SETS.setdefault(id(words), set(words))


def analogies(space: Any, net: WordNet, each: int = 400) -> None:
    """Pairs of two different pairs of one relation, drawn at random."""
    from rung.metrics.stats import wilson
    from rung.retrieval.measure.vectors import answer, parallel

    names = {
        "!aa": "antonym of adjectives",
        "\\ra": "adverb: adjective",
        "+vn": "verb: noun derived",
        "+an": "adjective: noun",
    }
    common = (
        {w for w in list(space.words)[:20_000] if w.islower()}
        if space.embed is None
        else {w for w in space.words if w.islower()}
    )
    rng = np.random.default_rng(0)
    questions: dict[str, list[tuple[str, ...]]] = {}
    pairs: dict[str, list[tuple[str, ...]]] = {}
    for kind, name in names.items():
        known = sorted({(a, b) for k, _, a, b in net.links if k == kind and a != b and a in common and b in common})
        if kind[0] == "!":  # it goes both ways, and both offsets together would cancel
            known = [(a, b) for a, b in known if a < b]
        if len(known) < 5:
            continue
        pairs[name] = list(known)
        draws = [rng.choice(len(known), 2, replace=False) for _ in range(each)]
        questions[name] = [(*known[i], *known[j]) for i, j in draws]
    total = [0, 0, 0]
    for found in answer(space, questions):
        first, five = wilson(found.first, found.known), wilson(found.five, found.known)
        total = [total[0] + found.known, total[1] + found.first, total[2] + found.five]
        print(
            f"  {found.section:24} {found.known} of {len(pairs[found.section])} pairs: top-1 {first.value:.3f} [{first.low:.3f}, {first.high:.3f}], top-5 {five.value:.3f}"
        )
    print(f"analogies {total[0]}: top-1 {total[1] / total[0]:.3f}, top-5 {total[2] / total[0]:.3f}")
    for offset in parallel(space, pairs, shuffles=200):
        print(
            f"  offsets {offset.section:24} {offset.pairs} pairs: cosine {offset.cosine:.3f}, shuffled {offset.shuffled:.3f}, p {offset.p:.3f}"
        )


def lexicon(path: Path) -> list[tuple[str, str]]:
    """Single words of a freedict .dict.dz: a line with the headword and slashes, then its translations."""
    pairs, head = [], ""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            if match := re.match(r"^(\w+) /", line):
                head = match[1]
            elif head and line.strip():
                others = re.split(r"[,;]", re.sub(r"<[^>]*>|\([^)]*\)|^\s*\d+\.", "", line))
                pairs += [
                    (head.lower(), other.strip().lower()) for other in others if re.fullmatch(r"\s*[^\W\d_]+\s*", other)
                ]
    return list(dict.fromkeys(pairs))


def translate(path: Path) -> None:
    """The static embedder's English words turned onto its French ones: it was made for English, French comes by pieces."""
    from rung.models import open_embedder
    from rung.retrieval.measure.vectors import Space, align

    pairs = lexicon(path)
    embedder = open_embedder("static")
    one, two = (list(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
    english, french = (Space(words, embedder.embed(words), embedder.embed) for words in (one, two))
    _, found = align(english, french, pairs)
    different = [(a, b) for a, b in pairs if a != b]
    _, harder = align(english, french, different)
    for name, item in (("all pairs", found), ("pairs spelled differently", harder)):
        print(
            f"en -> fr, {name}: trained on {item.trained}, tested on {item.tested} words among {len(two)}: "
            f"precision@1 {item.first.value:.3f} [{item.first.low:.3f}, {item.first.high:.3f}], @5 {item.five.value:.3f}; "
            f"unaligned @1 {item.unaligned:.3f}"
        )


def main() -> None:
    from rung.models import open_embedder
    from rung.retrieval.measure.vectors import Space

    parser = argparse.ArgumentParser()
    parser.add_argument("--wordnet", type=Path)
    parser.add_argument("--freedict", type=Path)
    parser.add_argument("--embedders", default="static,words:glove?limit=50000")
    given = parser.parse_args()
    if given.wordnet:
        net = WordNet(given.wordnet)
        for name in given.embedders.split(","):
            print(f"\n## {name}")
            space = Space.of(open_embedder(name))
            neighbours(space, net)
            analogies(space, net)
    if given.freedict:
        print("\n## alignment")
        translate(given.freedict)


if __name__ == "__main__":
    main()
