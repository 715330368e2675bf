"""Word vectors of two languages, trained apart by skip-gram, turned onto each other by a dictionary (Procrustes).

    apt-get download manpages manpages-dev manpages-fr manpages-fr-dev dict-freedict-eng-fra     # unpack each: dpkg-deb -x FILE X
    python bench/bilingual.py --source X/usr/share/man --target X/usr/share/man/fr --dictionary X/usr/share/dictd/freedict-eng-fra

Folders hold manual pages, files plain lines (.gz too). Words of the dictionary that both texts have are split: seven tenths learn the
turn, three tenths are translated (the nearest words of the other language by cosine). Beside them: the same without the turn, with
shuffled translations, and what copying the word would get.
"""

from __future__ import annotations

import argparse
import gzip
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from rung.core.text.columns import align as columns
from rung.foundations.words.vocabulary import TextVocabulary
from rung.foundations.words.word2vec import SkipgramPlan, train
from rung.models.embed import unit
from rung.retrieval.measure.vectors import Space, align
from rung.studies.lab.words.vectors import write_vectors

SAID = frozenset(("B", "I", "R", "BR", "BI", "IB", "IR", "RB", "RI", "SH", "SS", "SM", "SB", "TP", "PP"))


def manual(path: Path) -> str:
    """What a manual page says, without its macros."""
    data = path.read_bytes()
    out = []
    for line in (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace").splitlines():
        if line[:1] in (".", "'"):
            macro, _, line = line[1:].strip().partition(" ")
            if macro not in SAID:
                continue
        line = re.sub(r"\\f(\[\w*\]|\(..|.)|\\[&,/|^]|\\m\[\w*\]", "", line)
        out.append(re.sub(r"\\\(..|\\\[\w+\]|\\[a-z]|[\"\\]", " ", line.replace(r"\-", "-").replace(r"\(aq", "'")))
    return "\n".join(out)


def read(places: list[Path]) -> str:
    """The text of folders of manual pages and of files of lines; an apostrophe ends a word (l'option)."""
    parts = []
    for place in places:
        if place.is_dir():
            parts += [manual(path) for path in sorted(place.glob("man*/*")) if path.is_file()]
        else:
            data = place.read_bytes()
            parts.append((gzip.decompress(data) if place.suffix == ".gz" else data).decode())
    return re.sub("['’]", " ", "\n".join(parts))


def dictionary(stem: Path) -> Iterator[tuple[str, str]]:
    """Words and their translations of one word each, of a FreeDict in dictd's form."""
    text = gzip.decompress(stem.with_name(f"{stem.name}.dict.dz").read_bytes()).decode()
    word = ""
    for line in text.splitlines():
        if found := re.match(r"(\S.*?) /.*/", line):
            word = found[1].lower()
        elif word and (said := re.sub(r"^\d+\. |<.*?>|\(.*?\)", "", line.strip())):
            for other in said.lower().split(", "):
                if re.fullmatch(r"[^\W\d_]+", other) and re.fullmatch(r"[^\W\d_]+", word):
                    yield word, other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, nargs="+", required=True)
    parser.add_argument("--target", type=Path, nargs="+", required=True)
    parser.add_argument("--dictionary", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--to", type=Path, help="write the vectors and the pairs here, for rung vectors align")
    asked = parser.parse_args()
    pairs = list(dict.fromkeys(dictionary(asked.dictionary)))
    spaces = []
    for name, places in (("source", asked.source), ("target", asked.target)):
        began = time.process_time()
        vocabulary = TextVocabulary.read(read(places), most=15_000)
        with threadpool_limits(1):
            made = train(vocabulary, SkipgramPlan(100, epochs=asked.epochs))
        print(
            f"{name}: {len(vocabulary.ids):,} tokens, {len(vocabulary.words):,} words, {time.process_time() - began:.0f} CPU s"
        )
        if asked.to:
            asked.to.mkdir(parents=True, exist_ok=True)
            write_vectors(asked.to / f"{name}.vec", vocabulary.words, made)
        centred = made - made.mean(0)
        spaces.append(Space(vocabulary.words, unit(centred), None))
    if asked.to:
        (asked.to / "lexicon.tsv").write_text("".join(f"{one}\t{two}\n" for one, two in pairs), encoding="utf-8")
    source, target = spaces
    known = [(one, two) for one, two in pairs if source.row(one) is not None and target.row(two) is not None]
    order = np.random.default_rng(0).permutation(len(known))
    shuffled = [(one, known[int(at)][1]) for (one, _), at in zip(known, order, strict=True)]
    unlike = [(one, two) for one, two in known if one != two]
    lines = [["pairs", "learnt from", "translated", "precision@1", "precision@5", "unturned@1"]]
    for name, chosen in (("all", known), ("spelt otherwise", unlike), ("shuffled", shuffled)):
        _, found = align(source, target, chosen)
        shown = [f"{x.value:.3f} [{x.low:.3f}, {x.high:.3f}]" for x in (found.first, found.five)]
        lines.append([name, str(found.trained), str(found.tested), *shown, f"{found.unaligned:.3f}"])
    print(columns(lines, width=110))
    same = sum(one == two for one, two in known)
    print(
        f"{len(known):,} of {len(pairs):,} pairs have both words in the texts; {same / len(known):.3f} are spelt alike"
    )


if __name__ == "__main__":
    main()
