"""What rows are like before anything is learnt from them: labels, kinds of instructions, lengths, variety, what they
are about."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rung.data.clean.filters import noise
from rung.data.rows.length import TokenCounter
from rung.data.rows.records import Record
from rung.data.split import draw
from rung.data.split.kinds import kind
from rung.tasks.identity import words

ROWS = 5000
"""Rows of which the clusters are made at most, drawn by hash."""
TOP = 20


@dataclass(frozen=True, slots=True)
class Cluster:
    """Rows about one thing: how many, the words that mark them, the row in their middle."""

    size: int
    words: tuple[str, ...]
    example: str


@dataclass(frozen=True, slots=True)
class Profile:
    """``labels`` is empty where the answers are none. ``balance`` are the evenness (entropy over its maximum, 0 to 1;
    None with fewer than two) of labels, kinds and clusters. ``distinct`` is the share of n-grams that occur once or
    first, for n of 1 to 3 (Li et al. 2016), over the answers (the inputs where answers are labels); ``openings`` how
    often the most frequent first two words of the inputs are used."""

    rows: int
    turns: float
    shapes: Mapping[str, int]
    labels: Mapping[str, int]
    kinds: Mapping[str, int]
    balance: Mapping[str, float | None]
    distinct: tuple[float, ...]
    openings: tuple[tuple[str, int], ...]
    tokens: tuple[int, ...]
    answer_words: tuple[int, ...]
    clusters: tuple[Cluster, ...]
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As plain JSON; token counts as quantiles."""
        return {
            "rows": self.rows,
            "turns": round(self.turns, 2),
            "shapes": dict(self.shapes),
            "labels": dict(self.labels),
            "kinds": dict(self.kinds),
            "balance": dict(self.balance),
            "distinct": [round(value, 4) for value in self.distinct],
            "openings": [list(item) for item in self.openings],
            "tokens": _quantiles(self.tokens),
            "answer_words": _quantiles(self.answer_words),
            "clusters": [{"size": c.size, "words": list(c.words), "example": c.example} for c in self.clusters],
            "notes": list(self.notes),
        }


def _quantiles(values: Sequence[int]) -> dict[str, int]:
    if not values:
        return {}
    ordered = sorted(values)
    names = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
    return {name: ordered[round(share * (len(ordered) - 1))] for name, share in names.items()}


def evenness(counts: Sequence[int]) -> float | None:
    """Entropy of the shares over that of equal ones: 1 is balanced, near 0 one-sided; None with fewer than two."""
    total = sum(counts)
    if len(counts) < 2 or not total:
        return None
    return -sum(n / total * math.log(n / total) for n in counts if n) / math.log(len(counts))


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams of words over all of them, 0 to 1; 0 without any."""
    seen: set[tuple[str, ...]] = set()
    total = 0
    for text in texts:
        said = words(text)
        grams = [tuple(said[at : at + n]) for at in range(len(said) - n + 1)]
        total += len(grams)
        seen.update(grams)
    return len(seen) / total if total else 0.0


def profile(records: Sequence[Record], counter: TokenCounter | None = None) -> Profile:
    """Look at rows. Without a ``counter`` of tokens there is no histogram of them."""
    talks = [record for record in records if record.messages]
    answers = [record.answer for record in talks if record.answer]
    inputs = [record.question for record in talks] or [record.text for record in records]
    classes = Counter(answers) if noise.labels(answers) else Counter[str]()
    kinds = Counter(kind(record.question) for record in talks)
    openings = Counter(" ".join(words(text[:200])[:2]) for text in inputs)
    groups, notes = cluster(inputs)
    if classes and len(classes) < 2:
        notes.append("There is one label: nothing to tell apart.")
    if classes and min(classes.values()) < 5:
        few = [name for name, n in classes.items() if n < 5]
        notes.append(f"{len(few)} labels have fewer than 5 rows: {', '.join(few[:5])}")
    return Profile(
        rows=len(records),
        turns=sum(len(record.messages) for record in talks) / len(talks) if talks else 0.0,
        shapes=Counter(record.shape for record in records),
        labels=dict(classes.most_common()),
        kinds=dict(kinds.most_common()),
        balance={
            "labels": evenness(list(classes.values())),
            "kinds": evenness(list(kinds.values())),
            "clusters": evenness([group.size for group in groups]),
        },
        distinct=tuple(distinct(inputs if classes or not answers else answers, n) for n in (1, 2, 3)),
        openings=tuple(openings.most_common(5)),
        tokens=tuple(map(counter.count, records)) if counter is not None else (),
        answer_words=tuple(len(words(answer)) for answer in answers),
        clusters=tuple(groups),
        notes=tuple(notes),
    )


def cluster(texts: Sequence[str], *, most: int = 12) -> tuple[list[Cluster], list[str]]:
    """k-means over TF-IDF of words: what the texts are about, largest first; and what the user should know."""
    import numpy as np

    notes: list[str] = []
    if len(texts) > ROWS:
        places = np.sort(np.random.default_rng(0).choice(len(texts), ROWS, replace=False)).tolist()
        texts = [texts[place] for place in places]
        notes.append(f"Clusters are those of {ROWS:,} drawn rows.")
    if len(set(texts)) < 10:
        return [], [*notes, "Too few different rows for clusters."]
    made = _means(texts, texts, most)
    if made is None:
        return [], [*notes, "The rows hold no words to tell them apart by."]
    labels, names, near = made
    out = []
    for number, marks in enumerate(names):
        members = np.flatnonzero(labels == number)
        if not len(members):
            continue
        middle = texts[int(members[np.argmax(near[members, number])])]
        out.append(Cluster(len(members), marks, " ".join(middle.split())[:120]))
    return sorted(out, key=lambda group: -group.size), notes


def assign(texts: Sequence[str], *, most: int = 12) -> list[str]:
    """For each text the words that mark its cluster; the clusters are those of at most ROWS drawn texts. All empty
    where there are none."""
    import numpy as np

    drawn = list(texts)
    if len(drawn) > ROWS:
        drawn = [drawn[at] for at in np.random.default_rng(0).choice(len(drawn), ROWS, replace=False).tolist()]
    made = _means(drawn, texts, most) if len(set(drawn)) >= 10 else None
    if made is None:
        return [""] * len(texts)
    labels, names, _ = made
    return [" ".join(names[label]) for label in labels.tolist()]


def _means(drawn: Sequence[str], texts: Sequence[str], most: int) -> tuple[Any, list[tuple[str, ...]], Any] | None:
    """Clusters of ``drawn``: of each of ``texts`` the cluster's number; the clusters' words; and how near each text
    is to each. None where there are no words."""
    import numpy as np
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    k = min(most, len(set(drawn)) // 5)
    try:
        vectors = TfidfVectorizer(stop_words="english", max_features=5000, max_df=0.5, dtype=np.float32)
        rows = vectors.fit_transform([text[:2000] for text in drawn])
    except ValueError:  # no word that is not in every text
        return None
    found = MiniBatchKMeans(k, random_state=0, n_init=3, batch_size=1024).fit(rows)
    words = vectors.get_feature_names_out()
    names = [tuple(str(words[at]) for at in np.argsort(-centre)[:4]) for centre in found.cluster_centers_]
    if texts is drawn:
        return found.labels_, names, rows @ found.cluster_centers_.T
    others = vectors.transform([text[:2000] for text in texts])
    return found.predict(others), names, others @ found.cluster_centers_.T


def lines(found: Profile, counter: str = "") -> list[str]:
    """For people."""
    out = [
        f"{found.rows:,} rows, {found.turns:.1f} messages each; "
        + ", ".join(f"{n:,} {name}" for name, n in found.shapes.items())
    ]

    def said(title: str, counts: Mapping[str, int], balance: float | None) -> None:
        if counts:
            even = "" if balance is None else f", evenness {balance:.2f}"
            out.append(f"{title} ({len(counts)}{even}):")
            out.extend(f"  {n:>7,}  {name}" for name, n in list(counts.items())[:TOP])
            if len(counts) > TOP:
                out.append(f"  and {len(counts) - TOP} more")

    said("Labels", found.labels, found.balance["labels"])
    if not found.labels:
        said("Kinds of instructions", found.kinds, found.balance["kinds"])
    out.append(
        "Distinct n-grams: " + ", ".join(f"{value:.1%} of {n}-grams" for n, value in enumerate(found.distinct, 1))
    )
    if found.tokens:
        q = _quantiles(found.tokens)
        out.append(
            f"Tokens ({counter}): median {q['median']:,}, 5% below {q['p5']:,}, 5% above {q['p95']:,}, longest {q['max']:,}"
        )
    if found.clusters:
        even = found.balance["clusters"]
        out.append(f"About{'' if even is None else f' (evenness {even:.2f})'}:")
        out += [f"  {group.size:>7,}  {', '.join(group.words)}: {group.example[:70]}" for group in found.clusters]
    return [*out, *found.notes]


def page(found: Profile, title: str, counter: str = "") -> str:
    """An HTML page with the pictures, which needs nothing from anywhere."""
    pictures = []
    if found.labels:
        shown = list(found.labels.items())
        pictures.append(
            draw.bars(
                f"Labels: {len(shown)}" + (f", the {TOP * 2} most frequent" if len(shown) > TOP * 2 else ""),
                shown[: TOP * 2],
            )
        )
    elif found.kinds:
        pictures.append(draw.bars("Kinds of instructions", list(found.kinds.items())))
    if found.tokens:
        pictures.append(
            draw.histogram(f"Tokens a row ({counter})" if counter else "Tokens a row", found.tokens, "tokens")
        )
    if found.answer_words and not found.labels:
        pictures.append(draw.histogram("Words an answer", found.answer_words, "words"))
    if any(found.distinct):
        pictures.append(
            draw.bars(
                "Distinct n-grams, per cent",
                [(f"{n} words", round(100 * value, 2)) for n, value in enumerate(found.distinct, 1)],
            )
        )
    if found.clusters:
        pictures.append(
            draw.bars("What the inputs are about", [(", ".join(group.words), group.size) for group in found.clusters])
        )
    if found.openings:
        pictures.append(draw.bars("How inputs begin", [(name or "(nothing)", n) for name, n in found.openings]))
    text = html.escape("\n".join(lines(found, counter)))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        "<style>body{font:15px/1.5 sans-serif;max-width:720px;margin:2em auto;padding:0 1em}svg{display:block;margin:1.5em 0;max-width:100%;height:auto}"
        "pre{white-space:pre-wrap}@media(prefers-color-scheme:dark){body{background:#16181c;color:#e6e6e6}}</style>"
        f"<h1>{html.escape(title)}</h1>{''.join(pictures)}<pre>{text}</pre></html>\n"
    )
