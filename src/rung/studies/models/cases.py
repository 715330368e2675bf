"""Test cases as prompts with references, answered by a model or by anything that generates, and measured: the plain
evaluation loop of fine-tuning guides, through the same journal, meter and statistics as a climb."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, runtime_checkable

from rung.core.codec import digest, spell
from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.protocols import Metric
from rung.core.settings import Settings
from rung.core.text.columns import align
from rung.core.types import Answer, Example, Input, Interval, ResponseFormat, Result, Sampling, Score, as_input
from rung.documents.tables import rows as tables
from rung.ladder.measure.evaluate import Evaluator
from rung.ladder.view.numbers import difference, quality
from rung.metrics import load_metric
from rung.metrics.stats import Difference, holm, interval, paired
from rung.models import Pool
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt
from rung.store import open_store
from rung.studies.study import Lab, Study

METRICS: Mapping[str, str] = {"rouge": "rouge-l", "exact_match": "exact", "semantic_similarity": "semantic"}
"""What is measured unless said: the guides' names and the metrics here."""
PROMPTS = ("prompt", "question", "instruction", "input")
REFERENCES = ("reference", "answer", "output", "completion")


@runtime_checkable
class Generator(Protocol):
    """Anything of the guides' shape: a prompt in, the answer's text out."""

    def generate(self, prompt: str, /) -> str: ...


class Generated:
    """A Program around somebody's own ``generate``. Nobody knows what is behind it, so its answers are never
    remembered."""

    kind = "generated"
    model = None

    def __init__(self, generator: Generator) -> None:
        self._generator, self._mark = generator, os.urandom(16).hex()

    def spec(self) -> dict[str, Any]:
        return {"mark": self._mark}

    def files(self) -> Mapping[str, Path | bytes]:
        return {}

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        text = await asyncio.to_thread(self._generator.generate, as_input(input, ("prompt",))["prompt"])
        return Answer(str(text), str(text))

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: object) -> Generated:
        raise InputError("somebody's own generate cannot be loaded", remedy="give it to rung.evaluate_model again")


def read(path: Path) -> list[Example]:
    """Test cases of a table (JSONL, CSV, Parquet, ...) with the columns prompt and reference. Raises InputError for a
    file without them, or without rows."""
    rows = [(row.line, row.values) for row in tables.rows(path)]
    if not rows:
        raise InputError("there is no test case in it", file=path, remedy="write rows with prompt and reference")
    return [_example(values, place, path, line) for place, (line, values) in enumerate(rows)]


def examples(cases: Sequence[Mapping[str, Any]]) -> list[Example]:
    """Test cases given as mappings with prompt and reference. Raises InputError for one that has not both."""
    if not cases:
        raise InputError("got no test case", remedy='give [{"prompt": ..., "reference": ...}, ...]')
    return [_example(case, place) for place, case in enumerate(cases)]


def _example(values: Mapping[str, Any], place: int, path: Path | None = None, line: int | None = None) -> Example:
    prompt = next((values[name] for name in PROMPTS if values.get(name) not in (None, "")), None)
    reference = next((values[name] for name in REFERENCES if values.get(name) is not None), None)
    if prompt is None or reference is None:
        raise InputError(
            f"test case {place} has {', '.join(values) or 'nothing'}",
            file=path,
            line=line,
            remedy="expected prompt and reference",
        )
    many = isinstance(reference, list | tuple)
    return Example(
        str(values.get("id") or digest([prompt, reference, place])[:12]),
        {"prompt": spell(prompt)},
        [spell(one) for one in reference] if many else spell(reference),
    )


async def evaluate(
    model: str | Generator | None,
    cases: Sequence[Example],
    settings: Settings,
    *,
    metrics: Sequence[str] = tuple(METRICS.values()),
    max_tokens: int = 256,
) -> tuple[list[Metric], list[Result]]:
    """The metrics, and each case's result. Each prompt as it is in one user message, greedily answered and scored.
    ``model`` is provider:name (None: the setting), or an object with ``generate``. A case that fails scores 0 and says
    why; what a named model answered before is not asked again."""
    async with Pool(settings) as pool:
        if model is None or isinstance(model, str):
            options = Options(ResponseFormat(), ("prompt",), Sampling(max_tokens=max_tokens))
            program: PromptProgram | Generated = PromptProgram(Prompt(), pool.model(model), options)
        elif isinstance(model, Generator):
            program = Generated(model)
        else:
            raise InputError(
                f"got a {type(model).__name__} as model",
                remedy="give provider:name, or an object with generate(prompt)",
            )
        loaded = [load_metric(name, pool) for name in metrics]
        with ExitStack() as stack:
            url, at_once = settings.store_url, settings["concurrency"]
            if isinstance(program, Generated):  # one after another: it may not bear threads
                url, at_once = f"sqlite:///{stack.enter_context(TemporaryDirectory())}/rung.db", 1
            store = stack.enter_context(open_store(url))
            return loaded, await Evaluator(store, "", loaded, concurrency=at_once)(program, cases)


def shape(results: Sequence[Result], names: Mapping[str, str] = METRICS) -> list[dict[str, Any]]:
    """A row a case: prompt, response, reference, and metrics under ``names`` (a metric that only says yes or no as
    bool)."""
    return [
        {
            "prompt": result.example.input["prompt"],
            "response": result.answer.raw or spell(result.answer.output or ""),
            "reference": result.example.reference,
            "metrics": {
                name: bool(score.value) if metric == "exact" else score.value
                for name, metric in names.items()
                for score in [result.scores[metric]]
            },
            **({"failure": result.answer.failure.message} if result.answer.failure is not None else {}),
        }
        for result in results
    ]


@dataclass(frozen=True, slots=True)
class ModelCases:
    """A model's results, and its mean by metric over the cases of which no model's call failed, with the paired
    difference to the first model (None for that one), p corrected (Holm) over all."""

    model: str
    results: tuple[Result, ...]
    means: Mapping[str, Interval]
    differences: Mapping[str, Difference | None]

    @property
    def failed(self) -> int:
        return sum(result.answer.failure is not None for result in self.results)


@dataclass(frozen=True)
class Evaluate(Study[None, list[ModelCases]]):
    """Answer each case's prompt as it is and score the answers; several models are compared case by case."""

    name = "eval"
    subject = "none"
    records = list[ModelCases]

    cases: Path = argument("Rows with prompt and reference: JSONL, CSV, Parquet.", "CASES")
    model: tuple[str, ...] = option(
        (), "provider:name; given again, compared with the first.", flags=("-m", "--model"), metavar="MODEL"
    )
    metric: tuple[str, ...] = option((), "Any metric of a task file. [rouge-l, exact, semantic]", flags=("--metric",))
    max_tokens: int = option(256, "Longest answer.", flags=("--max-tokens",), low=1)
    limit: int | None = option(None, "At most this many cases, the first ones.", low=1)

    async def measure(self, subject: None, lab: Lab) -> list[ModelCases]:
        """Raises InputError for a file without cases."""
        models, given = self.model or (lab.settings["model"],), read(self.cases)[: self.limit]
        metrics, found = self.metric or tuple(METRICS.values()), []
        for name in models:
            answered = await evaluate(name, given, lab.settings, metrics=metrics, max_tokens=self.max_tokens)
            found.append((name, *answered))
        kept = [at for at, row in enumerate(zip(*(r for *_, r in found), strict=True)) if all(r.answered for r in row)]
        return _compared(found, kept)

    def about(self, subject: None) -> str:
        return self.cases.name

    def json(self, found: list[ModelCases]) -> str:
        """A JSON object a case. Raises InputError for more than one model."""
        if len(found) > 1:
            raise InputError(f"got {len(found)} models and --json", remedy="ask for one model at a time")
        names = {name: name for name in self.metric} if self.metric else METRICS
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in shape(found[0].results, names))

    def table(self, found: list[ModelCases]) -> str:
        lines = [["model", "metric", "mean [95%]", "to the first", "failed"]]
        for row in found:
            for name, mean in row.means.items():
                change = row.differences[name]
                failed = f"{row.failed} of {len(row.results)}"
                lines.append([row.model, name, quality(mean), difference(change) if change else "", failed])
        return align(lines)


def _compared(found: Sequence[tuple[str, list[Metric], list[Result]]], kept: Sequence[int]) -> list[ModelCases]:
    _, metrics, first = found[0]
    pairs = [(results, metric) for _, _, results in found[1:] for metric in metrics]

    def scores(results: Sequence[Result], metric: Metric) -> list[Score]:
        return [results[at].scores[metric.name] for at in kept]

    changes = [paired(metric, scores(results, metric), scores(first, metric)) for results, metric in pairs]
    ps = iter(holm([change.p for change in changes]) if changes else ())
    told = iter([replace(change, p=next(ps)) for change in changes])
    return [
        ModelCases(
            model,
            tuple(results),
            {metric.name: interval(metric, scores(results, metric)) for metric in metrics},
            {metric.name: next(told) if place else None for metric in metrics},
        )
        for place, (model, _, results) in enumerate(found)
    ]
