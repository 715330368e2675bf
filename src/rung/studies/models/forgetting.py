"""What a tuning cost elsewhere: general tasks and texts before and after, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rung import tasks
from rung.core.codec import digest
from rung.core.errors import ContextOverflow, InputError
from rung.core.parts.option import argument, option
from rung.core.settings import Settings
from rung.core.text.columns import align
from rung.core.types import Interval, Progress
from rung.data.read import read as read_records
from rung.data.rows.records import Record
from rung.data.split.kinds import kind
from rung.documents import read as read_document
from rung.documents import scan
from rung.ladder.measure.looks import Test
from rung.ladder.records import verdict
from rung.ladder.view.numbers import change, exact, said
from rung.metrics import load_metric
from rung.metrics.stats import Difference, bootstrap, interval, paired, permutation
from rung.models.engine.openvino.model import open_model as open_engine
from rung.models.providers.transformers.model import TransformersModel, open_model
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt
from rung.studies.study import Lab, Study, corrected
from rung.tasks.packs.corpus import read_stdlib

PIECE = 2000
"""Characters of a text that are one item of the comparison: enough of them for an interval, long enough for a
context."""
CORPUS = "python-stdlib"
"""The place that is no file: descriptions in this interpreter's own standard library, the first BEGINNING characters
of each: so short that a hundred are computed together."""
BEGINNING = 400


@dataclass(frozen=True, slots=True)
class Retention:
    """One general task (or text) before and after. ``difference`` is after minus before; for perplexity lower is
    better."""

    name: str
    metric: str
    before: Interval
    after: Interval
    difference: Difference
    higher_is_better: bool = True

    @property
    def word(self) -> str:
        """better, worse, or no difference."""
        if verdict(self.difference) == "no difference":
            return "no difference"
        return "better" if (self.difference.value > 0) is self.higher_is_better else "worse"


@dataclass(frozen=True)
class Forgetting(Study[None, list[Retention]]):
    """Compare two models on what one of them was not tuned for: tasks, plain texts, training rows; pair by pair."""

    name = "forgetting"
    subject = "none"
    records = list[Retention]

    before: str = argument("The model before, as provider:name or a path of weights.", "BEFORE")
    after: str = argument("The model after.", "AFTER")
    places: tuple[str, ...] = argument(
        "Task files or packs, .txt or .md files, .jsonl files of rows, or python-stdlib.", "PLACE..."
    )
    limit: int = option(100, "At most this many items of a place, or of a kind of row.", low=1)

    async def measure(self, subject: None, lab: Lab) -> list[Retention]:
        """Compare on task files or packs (zero-shot, their test split, through the journal), plain text (files:
        perplexity over pieces of 2,000 characters; python-stdlib, which is in every Python: over descriptions of 400),
        and files of training rows (.jsonl: perplexity of the answers, for each kind of instruction). p-values are
        corrected over all of them (Holm).

        For texts and rows both models must be weights on this disk: transformers reads them, for python-stdlib the
        embedded engine where both are its own. Raises InputError.
        """
        rows: list[Retention] = []
        for done, place in enumerate(self.places):
            lab.progress(Progress(self.name, done, len(self.places), Path(place).name))
            if place == CORPUS:
                rows.append(await descriptions(self.before, self.after, lab.settings, self.limit))
            elif place.lower().endswith((".txt", ".md", ".rst")):
                rows.append(await perplexities(self.before, self.after, Path(place), lab.settings, self.limit))
            elif place.lower().endswith((".jsonl", ".ndjson")):
                rows += await answers(self.before, self.after, Path(place), lab.settings, self.limit)
            else:
                rows.append(await self._task(place, lab))
        return corrected(rows)

    async def _task(self, place: str, lab: Lab) -> Retention:
        task = tasks.load(place)
        examples = task.test[: self.limit]
        if not examples:
            raise InputError(f"{task.name} has no test examples", remedy="name a task with a test split")
        metric = load_metric(task.metrics[0], lab.resources)
        evaluator = lab.evaluator([metric], test=Test(lab.store, task, self.name))
        scores = []
        for name in (self.before, self.after):
            program = PromptProgram(Prompt.of(task), lab.resources.model(name), Options.of(task))
            scores.append([result.scores[metric.name] for result in await evaluator(program, examples)])
        one, two = (interval(metric, mine) for mine in scores)
        return Retention(
            task.name, metric.name, one, two, paired(metric, scores[1], scores[0]), metric.higher_is_better
        )

    def about(self, subject: None) -> str:
        return f"{self.before}, {self.after}"

    def table(self, found: list[Retention]) -> str:
        lines = [["", "metric", "before", "after", "difference", "", "items"]]
        for row in found:
            d = row.difference
            figures = [exact(row.before), exact(row.after), change(d), said(d, row.word)]
            lines.append([row.name, row.metric, *figures, str(d.n)])
        return f"{align(lines)}\n{_worth(found)}"


async def perplexities(
    before: str, after: str, place: Path, settings: Settings, limit: int = 100, seed: int = 0
) -> Retention:
    """Perplexity of two models on a text: exp of the mean loss a token, intervals by bootstrap over pieces."""
    found = [document.text for source in scan([place]) for document in read_document(source)]
    pieces = [
        text[at : at + PIECE] for text in found for at in range(0, len(text), PIECE) if text[at : at + PIECE].strip()
    ]
    if len(pieces) < 2:
        raise InputError(f"{place} holds too little text", remedy=f"name a text of more than {2 * PIECE:,} characters")
    step = max(1, len(pieces) // limit)
    pieces = pieces[::step][:limit]
    sums = []
    for name in (before, after):
        model = _open(name, settings)
        try:
            sums.append(np.asarray(await model.losses(pieces), np.float64))
        finally:
            await model.close()
    a, b = sums
    return _compare(place.name, "perplexity", a, b, seed)


async def descriptions(before: str, after: str, settings: Settings, limit: int = 100, seed: int = 0) -> Retention:
    """Perplexity of two models on ``limit`` descriptions of CORPUS, drawn by the hash of their names: libraries that
    are loaded add a name or two, and the others stay."""
    texts = {name: text[:BEGINNING] for name, text in read_stdlib().items() if len(text) >= BEGINNING}
    chosen = [texts[name] for name in sorted(texts, key=digest)[:limit]]
    engine = before.startswith("openvino:") and after.startswith("openvino:")
    sums = []
    for name in (before, after):
        model = open_engine(name.partition(":")[2], settings) if engine else _open(name, settings)
        try:
            said = await model.recall([((), text) for text in chosen])
        finally:
            await model.close()
        sums.append(np.asarray([(-sum(one), len(one)) for one in said], np.float64))
    a, b = sums
    return _compare(CORPUS, "perplexity", a, b, seed)


async def answers(
    before: str, after: str, place: Path, settings: Settings, limit: int = 100, seed: int = 0
) -> list[Retention]:
    """Perplexity of the answers of training rows, given what comes before them, for each kind of instruction: the one
    that the row's source names (``rung data split --hold-kinds`` writes it), else told by rules. At most ``limit`` rows
    of a kind, drawn by hash; rows that do not fit into either model's context, or hold no answer, are left out, as are
    kinds of fewer than two rows."""
    by_kind: dict[str, list[Record]] = {}
    for record in sorted(read_records([place]), key=lambda record: record.content):
        if record.answer.strip():
            by_kind.setdefault(str(record.source.get("kind") or kind(record.question)), []).append(record)
    chosen = [(name, record) for name, rows in sorted(by_kind.items()) for record in rows[:limit]]
    found: list[list[tuple[float, int]]] = []
    for name in (before, after):
        model = _open(name, settings)
        try:
            sums = []
            for _, record in chosen:
                try:
                    (said,) = await model.recall([(record.messages[:-1], record.answer)])
                except ContextOverflow:
                    said = ()
                sums.append((-sum(said), len(said)))
            found.append(sums)
        finally:
            await model.close()
    out = []
    for name in sorted(by_kind):
        places = [at for at, (one, _) in enumerate(chosen) if one == name and found[0][at][1] and found[1][at][1]]
        if len(places) > 1:
            a, b = (np.asarray([sums[at] for at in places], np.float64) for sums in found)
            out.append(_compare(f"{place.name}: {name}", "answer perplexity", a, b, seed))
    if not out:
        raise InputError(f"{place} holds too few rows with answers", remedy="name a file with two of a kind or more")
    return out


def _open(name: str, settings: Settings) -> TransformersModel:
    """The weights as transformers reads them; of BASE@ADAPTER the adapter, which knows its base."""
    place = name.partition(":")[2] if name.startswith(("openvino:", "transformers:")) else name
    return open_model(place.partition("@")[2] or place, settings)


Sums = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
"""Of each item the summed loss of its tokens and how many they are."""


def _compare(title: str, metric: str, a: Sums, b: Sums, seed: int) -> Retention:
    """Two models on the same items: exp of the mean loss a token, intervals by bootstrap over items."""

    def value(rows: Sums) -> float:
        return float(np.exp(rows[:, 0].sum() / rows[:, 1].sum()))

    def draw(rows: Sums) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return bootstrap(lambda d: np.exp(rows[d][..., 0].sum(-1) / rows[d][..., 1].sum(-1)), len(rows), 5000, seed)

    one, two = draw(a), draw(b)  # the same draws of pieces, so that their difference is paired
    gap = two - one
    p = permutation(list(b[:, 0] / b[:, 1] - a[:, 0] / a[:, 1]), seed=seed)

    def ends(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
        low, high = np.quantile(values, [0.025, 0.975])
        return float(low), float(high)

    return Retention(
        title,
        metric,
        Interval(value(a), *ends(one)),
        Interval(value(b), *ends(two)),
        Difference(value(b) - value(a), *ends(gap), p, len(a)),
        higher_is_better=False,
    )


def _worth(rows: Sequence[Retention]) -> str:
    """One sentence on what was forgotten."""
    lost = [row.name for row in rows if row.word == "worse"]
    if not lost:
        return f"nothing measured on {len(rows)} general sets got worse"
    return f"worse than before on {', '.join(lost)}"
