"""Moderation by a written policy: labels learnt from examples and rules, thresholds chosen for a rate of false
positives, and what is known of their errors on texts that were neither learnt from nor used to choose.

A threshold is a conformal quantile of harmless texts: of new ones like them at most the wished share lies above it, on
average over what it was chosen from (Vovk, Gammerman & Shafer 2005). Between it and a second one, below which few
harmful texts lie, nobody decides but a person.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.core.codec import digest, encode
from rung.core.errors import InputError
from rung.core.system.arrays import read_arrays
from rung.core.system.files import write_file
from rung.core.types import Interval
from rung.foundations.text.tfidf import save_arrays
from rung.foundations.text.yaml import load_yaml
from rung.metrics.stats import share
from rung.safety.filter import RULES, RuleFilter, TrainedFilter, read_texts
from rung.store import StoredDecision

Array = NDArray[np.float64]
SPEC = "moderation.json"
RATES = (0.001, 0.01, 0.05, 0.1)
"""Rates of false positives at which the curve is shown."""


@dataclass(frozen=True, slots=True)
class LabelPolicy:
    """What a label means: ``examples`` of it, and ``rules`` (of safety/filter.py) that stand for it whatever was
    learnt. At most ``false_positives`` of harmless texts are to be blocked, and at most ``missed`` of the label's to
    pass unseen."""

    name: str
    examples: tuple[Path, ...]
    rules: tuple[str, ...] = ()
    false_positives: float = 0.01
    missed: float = 0.1


@dataclass(frozen=True, slots=True)
class ModerationPolicy:
    """Labels, and files of ``harmless`` texts: everyday ones, and those that sound like a label and are not."""

    labels: tuple[LabelPolicy, ...]
    harmless: tuple[Path, ...]


def read_policy(path: Path) -> ModerationPolicy:
    """Read ``harmless: [FILE]`` and
    ``labels: {NAME: {examples: [FILE], rules: [NAME], false_positives: 0.01, missed: 0.1}}``; files are beside it.
    Raises InputError naming what is wrong."""

    def wrong(what: str) -> InputError:
        return InputError(what, file=path, remedy="see docs/alignment.md", code="moderation")

    document = load_yaml(path, "name a moderation.yaml")
    if not isinstance(document, dict) or set(document) - {"harmless", "labels"} or not document.get("labels"):
        raise wrong("expected harmless and labels")

    def files(value: Any, where: str) -> tuple[Path, ...]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not items or not all(isinstance(item, str) for item in items):
            raise wrong(f"{where} is {value!r}, expected files of texts")
        return tuple(path.parent / item for item in items)

    if not isinstance(document["labels"], dict):
        raise wrong("labels is no mapping of names")
    labels = []
    for name, item in document["labels"].items():
        if not isinstance(item, dict) or set(item) - {"examples", "rules", "false_positives", "missed"}:
            raise wrong(f"label {name}: expected examples, rules, false_positives, missed")
        rules = tuple(map(str, item.get("rules") or ()))
        if unknown := [rule for rule in rules if rule not in RULES]:
            raise wrong(f"label {name}: there is no rule {unknown[0]!r}; rules: {', '.join(RULES)}")
        rates = [item.get("false_positives", 0.01), item.get("missed", 0.1)]
        if any(isinstance(r, bool) or not isinstance(r, int | float) or not 0 < r < 1 for r in rates):
            raise wrong(f"label {name}: got the rates {rates}, expected numbers between 0 and 1")
        labels.append(LabelPolicy(str(name), files(item.get("examples"), f"label {name}: examples"), rules, *rates))
    return ModerationPolicy(tuple(labels), files(document.get("harmless"), "harmless"))


@dataclass(frozen=True, slots=True)
class LabelReport:
    """On texts that were held out: the area under the curve, the ``curve`` itself (rate of false positives, share
    caught), what is ``caught`` and blocked wrongly (``false``) at the threshold, per file of harmless texts too, and
    what goes to ``review`` of the harmful and the harmless. ``wrong``: harmless texts that are blocked."""

    label: str
    threshold: float
    review: float
    harmful: int
    harmless: int
    area: Interval
    curve: tuple[tuple[float, float], ...]
    caught: Interval
    false: Interval
    by_file: Mapping[str, Interval] = field(default_factory=dict)
    reviewed: tuple[float, float] = (0.0, 0.0)
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Moderated:
    """What a policy says of a text: allowed, review or blocked, by the label that is nearest to its threshold."""

    verdict: str
    label: str
    score: float
    threshold: float


class LabelModel:
    """Scores of a label: the learnt probability, or 1 where one of its rules matches."""

    def __init__(self, learnt: TrainedFilter, rules: Sequence[str], threshold: float, review: float) -> None:
        self.learnt, self.rules, self.threshold, self.review = learnt, tuple(rules), threshold, review
        self._rules = RuleFilter({name: RULES[name] for name in rules}) if rules else None

    def scores(self, texts: Sequence[str]) -> Array:
        """Shape (texts,), from 0 to 1."""
        found = self.learnt.scores(texts)
        if self._rules is not None:
            found = np.maximum(found, [float(self._rules(text).blocked) for text in texts])
        return found


class Moderator:
    """A fitted policy. ``key`` is its identity: what was in force when something was decided."""

    def __init__(self, labels: Mapping[str, LabelModel], key: str) -> None:
        self.labels, self.key = dict(labels), key

    def judge(self, texts: Sequence[str]) -> list[Moderated]:
        """What the policy says of each text."""
        columns = {name: model.scores(texts) for name, model in self.labels.items()}
        out = []
        for at in range(len(texts)):
            judged = [self._judge(name, float(column[at])) for name, column in columns.items()]
            out.append(max(judged, key=lambda one: (_ORDER.index(one.verdict), one.score - one.threshold)))
        return out

    def decide(self, texts: Sequence[str], person: str = "") -> list[StoredDecision]:
        """What is decided about each text, as a row to keep; its id is that of the text under this policy."""
        return [
            StoredDecision(digest([self.key, text])[:16], self.key, text, one.label, one.score, one.threshold, one.verdict, person)
            for text, one in zip(texts, self.judge(texts), strict=True)
        ]  # fmt: skip

    def _judge(self, name: str, score: float) -> Moderated:
        model = self.labels[name]
        verdict = "blocked" if score > model.threshold else "review" if score > model.review else "allowed"
        return Moderated(verdict, name, score, model.threshold)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        said = {}
        for place, (name, model) in enumerate(self.labels.items()):
            save_arrays(folder / f"label-{place}.npz", model.learnt.arrays())
            said[name] = {"rules": list(model.rules), "threshold": model.threshold, "review": model.review}
        write_file(folder / SPEC, json.dumps({"policy": self.key, "labels": said}, indent=1).encode())

    @classmethod
    def load(cls, folder: Path) -> Moderator:
        """Raises InputError for a folder that holds none."""
        try:
            said = json.loads((folder / SPEC).read_text(encoding="utf-8"))
            labels = {}
            for place, (name, item) in enumerate(said["labels"].items()):
                learnt = TrainedFilter.restore(read_arrays(folder / f"label-{place}.npz"))
                labels[name] = LabelModel(learnt, item["rules"], float(item["threshold"]), float(item["review"]))
            return cls(labels, str(said["policy"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{folder} holds no fitted policy: {error}", remedy="rung moderate fit POLICY --to FOLDER"
            ) from None


_ORDER = ("allowed", "review", "blocked")


def fit(
    policy: ModerationPolicy, ruled: Sequence[StoredDecision] = (), seed: int = 0
) -> tuple[Moderator, list[LabelReport]]:
    """Learn a policy from half of its texts, choose thresholds on a quarter and measure on the last. ``ruled``:
    decisions on which people have ruled, learnt from as what they were found to be. Raises InputError for too few
    texts, naming how many are needed."""
    harmless = {path: _read(path) for path in policy.harmless}
    models, reports = {}, []
    for label in policy.labels:
        own = list(dict.fromkeys(text for path in label.examples for text in _read(path)))
        known = set(own)
        others = {path: [text for text in texts if text not in known] for path, texts in harmless.items()}
        plain = list(dict.fromkeys(text for texts in others.values() for text in texts))
        learn, choose, test = _parts(own, seed)
        learn_plain, choose_plain, test_plain = _parts(plain, seed)
        added = [row for row in ruled if row.ruling and row.text not in {*test, *test_plain, *choose, *choose_plain}]
        learn = [*learn, *(row.text for row in added if row.ruling == "blocked" and row.label == label.name)]
        learn_plain = [*learn_plain, *(row.text for row in added if row.ruling == "allowed")]
        needed = math.ceil(1 / label.false_positives) - 1
        if len(choose_plain) < needed or min(len(learn), len(choose), len(test)) < 2:
            raise InputError(
                f"label {label.name}: {len(own)} examples and {len(plain)} harmless texts are too few, expected at least "
                f"20 and, for {label.false_positives:.1%} of false positives, {4 * needed:,}",
                remedy="give more harmless texts, or raise false_positives",
                code="few-texts",
            )
        model = LabelModel(TrainedFilter.fit(learn, learn_plain), label.rules, 1.0, 1.0)
        model.threshold = _quantile(model.scores(choose_plain), label.false_positives)
        model.review = min(model.threshold, float(np.quantile(model.scores(choose), label.missed, method="lower")))
        models[label.name] = model
        reports.append(_report(label.name, model, test, {path.name: [t for t in test_plain if t in set(texts)]
                                                           for path, texts in others.items()}))  # fmt: skip
    key = digest([encode([report.threshold, report.review, report.label]) for report in reports] + [seed])[:16]
    return Moderator(models, key), reports


def _read(path: Path) -> list[str]:
    return list(dict.fromkeys(read_texts(path)))


def _parts(texts: Sequence[str], seed: int) -> tuple[list[str], list[str], list[str]]:
    """Half, a quarter and a quarter, by the text alone."""
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    for text in texts:
        parts[(0, 0, 1, 2)[int(digest([seed, " ".join(text.casefold().split())])[:8], 16) % 4]].append(text)
    return parts


def _quantile(harmless: Array, rate: float) -> float:
    """The score that at most ``rate`` of new harmless texts exceed: the k-th largest of n, k = rate (n + 1) rounded
    down."""
    return float(np.sort(harmless)[-int(rate * (len(harmless) + 1) + 1e-9)])


def _report(name: str, model: LabelModel, harmful: Sequence[str], plain: Mapping[str, Sequence[str]]) -> LabelReport:
    mine = model.scores(harmful)
    by_file = {file: model.scores(texts) for file, texts in plain.items() if texts}
    theirs = np.concatenate(list(by_file.values()))
    blocked = [(score, text) for file in by_file for score, text in zip(by_file[file], plain[file], strict=True)]
    wrong = sorted((pair for pair in blocked if pair[0] > model.threshold), reverse=True)
    return LabelReport(
        name,
        model.threshold,
        model.review,
        len(mine),
        len(theirs),
        area(mine, theirs),
        tuple(curve(mine, theirs)),
        share(mine > model.threshold),
        share(theirs > model.threshold),
        {file: share(scores > model.threshold) for file, scores in by_file.items()},
        (_between(mine, model), _between(theirs, model)),
        tuple(text for _, text in wrong[:5]),
    )


def _between(scores: Array, model: LabelModel) -> float:
    return float(((scores > model.review) & (scores <= model.threshold)).mean())


def curve(harmful: Array, harmless: Array) -> list[tuple[float, float]]:
    """The receiver operating characteristic: (share of harmless texts above a threshold, share of harmful ones), one
    point for each threshold at which either changes, from (0, 0) to (1, 1)."""
    marks = np.unique(np.concatenate([harmful, harmless]))[::-1]
    points = [(float((harmless >= mark).mean()), float((harmful >= mark).mean())) for mark in marks]
    return [(0.0, 0.0), *points]


def caught_at(points: Sequence[tuple[float, float]], rate: float) -> float:
    """The largest share caught at a rate of false positives of at most ``rate``."""
    return max(true for false, true in points if false <= rate)


def area(harmful: Array, harmless: Array) -> Interval:
    """The area under the curve: how probably a harmful text scores above a harmless one, ties counted half, with the
    interval of DeLong, DeLong & Clarke-Pearson 1988; where nothing varies, the rule of three for the smaller group."""
    above = (harmful[:, None] > harmless[None]) + 0.5 * (harmful[:, None] == harmless[None])
    value = float(above.mean())
    spread = sum(float(above.mean(axis).var(ddof=1)) / above.shape[1 - axis] for axis in (0, 1))
    half = 1.96 * math.sqrt(spread) if spread > 0 else 3 / min(above.shape)
    return Interval(value, max(0.0, value - half), min(1.0, value + half))
