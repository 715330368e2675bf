"""Small against large: models or programs on one task and one text, with what each takes; who is beaten on everything
is marked."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rung import tasks
from rung.core.codec import canonical, decode, digest, encode
from rung.core.errors import InputError, ModelError
from rung.core.parts import program as programs
from rung.core.parts.option import argument, option
from rung.core.protocols import Metric, Model, Program
from rung.core.settings import Settings
from rung.core.system import memory
from rung.core.system.files import write_file
from rung.core.text.columns import align
from rung.core.types import Interval, Message, Progress, Request, ResponseFormat, Sampling, Score, Task
from rung.documents import read as read_document
from rung.documents import scan
from rung.ladder.measure.looks import Test
from rung.ladder.view.numbers import change, exact
from rung.metrics import load_metric
from rung.metrics.stats import Difference, bootstrap, interval, paired, permutation
from rung.models import hub
from rung.models.engine.openvino.model import open_model
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt
from rung.studies.study import Lab, Study

PIECE = 1200
"""Characters of a text that are one item."""
ASKED, LENGTH = 8, 48
"""Prompts that the speed is measured with, and new tokens of each."""
LONG = ResponseFormat("regex", pattern=r"(.|\n){2000}")
"""Nothing ends early: a model that was tuned on labels says four tokens to anything, and reading the prompt would be
most of what is timed."""
CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1])\nfrom rung.studies.models.sizes import child\nchild()"


Losses = tuple[tuple[float, int], ...]
"""Of each piece of a text the summed loss of its tokens, and how many they are."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a model takes, measured in a process of its own: bytes on disk, peak resident ``memory``, new ``tokens`` a
    second of wall time at ASKED prompts side by side, and CPU seconds for a thousand of them (the proxy of energy:
    multiply by the watts of a core). ``losses`` are of the text's pieces."""

    size: int = 0
    memory: int = 0
    tokens: float = 0.0
    cpu: float = 0.0
    losses: Losses = ()


@dataclass(frozen=True, slots=True)
class SizeRow:
    """One model. ``quality`` is the task's metric, ``loss`` nats a token of the text; differences are to the first
    model, paired. ``dominated`` names one that is better or equal in everything, and better in something."""

    name: str
    weighed: Weighed
    quality: Interval | None = None
    difference: Difference | None = None
    loss: float | None = None
    dearer: Difference | None = None
    dominated: str = ""


@dataclass(frozen=True)
class Sizes(Study[None, list[SizeRow]]):
    """Compare models or programs in quality and, those of the embedded engine, in size, memory and speed; mark who is
    beaten on everything."""

    name = "sizes"
    subject = "none"
    records = list[SizeRow]

    model: tuple[str, ...] = argument(
        "Models (openvino:NAME, a .gguf file) or program folders; the first is what the others are compared with.",
        "MODEL...",
    )
    task: str = option("", "A task file or pack: its test split is answered.", metavar="TASK")
    text: str = option("", "A .txt or .md file: the loss a token is measured.", metavar="FILE")
    limit: int = option(200, "At most this many test examples.", low=2)
    pieces: int = option(24, f"At most this many pieces of {PIECE} characters of the text.", low=2)

    async def measure(self, subject: None, lab: Lab) -> list[SizeRow]:
        """Raises InputError without a task and a text."""
        if not self.task and not self.text:
            raise InputError("there is nothing to measure quality with", remedy="give --task TASK, --text FILE or both")
        texts = _pieces(Path(self.text), self.pieces) if self.text else []
        task = tasks.load(self.task) if self.task else None
        metric = load_metric(task.metrics[0], lab.resources) if task else None
        rows, scores, kept = [], [], []
        for done, place in enumerate(self.model):
            lab.progress(Progress(self.name, done, len(self.model), _title(place)))
            program = _program(place, task, lab)
            found = Weighed()
            if program.model and program.model.name.startswith("openvino:"):  # nothing is known of what others take
                kept.append(_kept(program.model, texts, lab.settings))
                found = await asyncio.to_thread(_weighed, kept[-1], program.model.name, texts, lab.settings)
            rows.append(SizeRow(_title(place), found))
            scores.append(await self._scores(program, task, metric, lab) if task and metric else [])
            memory.rest(program.model)  # the next one needs it
            memory.release()
        compared = [self._compared(row, at, rows, scores, metric) for at, row in enumerate(rows)]
        for file in kept:
            file.unlink(missing_ok=True)
        return marked(compared, metric is None or metric.higher_is_better)

    async def _scores(self, program: Program, task: Task, metric: Metric, lab: Lab) -> list[Score]:
        evaluator = lab.evaluator([metric], test=Test(lab.store, task, self.name))
        return [result.scores[metric.name] for result in await evaluator(program, task.test[: self.limit])]

    def _compared(
        self,
        row: SizeRow,
        at: int,
        rows: Sequence[SizeRow],
        scores: Sequence[Sequence[Score]],
        metric: Metric | None,
    ) -> SizeRow:
        if metric is not None:
            row = replace(row, quality=interval(metric, scores[at]))
            row = replace(row, difference=paired(metric, scores[at], scores[0])) if at else row
        if losses := row.weighed.losses:
            tokens = sum(count for _, count in losses)
            row = replace(row, loss=sum(total for total, _ in losses) / tokens)
            first = rows[0].weighed.losses
            if at and [n for _, n in first] == [n for _, n in losses]:
                row = replace(row, dearer=nats(losses, first))
        return row

    def table(self, found: list[SizeRow]) -> str:
        lines = [
            [
                "",
                "quality",
                "to the first",
                "loss a token",
                "to the first",
                "MB",
                "memory MB",
                "tokens/s",
                "CPU s/1k",
                "",
            ]
        ]
        for row in found:
            one = row.weighed
            figures = ((one.size / 1e6, 0), (one.memory / 1e6, 0), (one.tokens, 0), (one.cpu, 2))
            lines.append([
                row.name,
                exact(row.quality) if row.quality else "",
                change(row.difference) if row.difference else "",
                f"{row.loss:.4f}" if row.loss is not None else "",
                change(row.dearer) if row.dearer else "",
                *(f"{value:.{digits}f}" if value else "" for value, digits in figures),
                f"dominated by {row.dominated}" if row.dominated else "",
            ])  # fmt: skip
        return align(lines)


def nats(losses: Losses, first: Losses, seed: int = 0) -> Difference:
    """By how much a token costs more than in ``first``: pieces of text are paired, the interval is by bootstrap over
    them."""
    a, b = np.asarray(losses, np.float64), np.asarray(first, np.float64)
    gap, tokens = a[:, 0] - b[:, 0], a[:, 1]
    draws = bootstrap(lambda d: gap[d].sum(-1) / tokens[d].sum(-1), len(a), 5000, seed)
    low, high = np.quantile(draws, [0.025, 0.975])
    p = permutation(list(gap / tokens), seed=seed)
    return Difference(float(gap.sum() / tokens.sum()), float(low), float(high), p, len(a))


def marked(rows: Sequence[SizeRow], higher: bool = True) -> list[SizeRow]:
    """The rows, each with the first other that is at least as good in quality, loss, size and CPU time, and better in
    one of them."""

    def figures(row: SizeRow) -> tuple[float, ...]:
        quality = 0.0 if row.quality is None else row.quality.value * (-1 if higher else 1)
        return quality, row.loss or 0.0, row.weighed.size or math.inf, row.weighed.cpu or math.inf

    out = []
    for row in rows:
        mine = figures(row)
        better = [
            other.name
            for other in rows
            if other is not row
            and figures(other) != mine
            and all(a <= b for a, b in zip(figures(other), mine, strict=True))
        ]
        out.append(replace(row, dominated=better[0] if better else ""))
    return out


def _kept(model: Model, texts: Sequence[str], settings: Settings) -> Path:
    """Where a study that is stopped leaves what a model took; one that ends removes it, for the next measures anew."""
    return settings.cache / "sizes" / f"{digest([model.fingerprint, list(texts)])}.json"


def _weighed(kept: Path, name: str, texts: Sequence[str], settings: Settings) -> Weighed:
    try:
        return decode(Weighed, json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # not weighed yet, or by another version
        found = weigh(name, texts, settings)
        with suppress(OSError):  # what cannot be kept is measured again
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_file(kept, canonical(found).encode())
        return found


def weigh(name: str, texts: Sequence[str], settings: Settings) -> Weighed:
    """What a model takes. Raises InputError for a model that is not the embedded engine's, ModelError when its process
    fails."""
    if not name.startswith("openvino:"):
        raise InputError(
            f"{name} is not weighed", remedy="expected a model of the embedded engine: openvino:NAME", code="model"
        )
    asked = json.dumps({"name": name, "texts": list(texts)})
    command = [sys.executable, "-c", CHILD, json.dumps(sys.path)]
    environment = {**os.environ, "RUNG_CACHE": str(settings.cache)}
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise ModelError(
            f"{name} could not be weighed: {last}", remedy="see that the file opens: rung run -m MODEL -p hello"
        )
    return decode(Weighed, json.loads(done.stdout.splitlines()[-1]))


def child() -> None:
    """What the process does: read what is asked on standard input, and say what was found."""
    given = json.loads(sys.stdin.read())
    sys.stdout.write(f"\n{json.dumps(encode(asyncio.run(_weigh(given['name'], given['texts']))))}\n")
    sys.stdout.flush()
    os._exit(0)


async def _weigh(name: str, texts: Sequence[str]) -> Weighed:
    settings = Settings()
    model = open_model(name.partition(":")[2], settings)
    words = (
        "the sea",
        "a letter to a friend",
        "bread",
        "why it rains",
        "two numbers",
        "an old house",
        "a fast train",
        "colours",
    )
    requests = [
        Request((Message("user", f"Write a long story about {topic}."),), Sampling(max_tokens=LENGTH), LONG)
        for topic in words[:ASKED]
    ]
    await model.generate(requests[:1])
    model.forget()
    wall, cpu = time.perf_counter(), time.process_time()
    replies = await model.generate(requests)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    new = sum(reply.usage.completion_tokens for reply in replies) or 1
    peak = memory.peak_memory()
    losses = (
        [(-sum(found), len(found)) for found in await model.recall([((), text) for text in texts])] if texts else []
    )
    place = hub.locate(name.partition(":")[2].partition("@")[0], settings.cache)
    size = (
        place.stat().st_size
        if place.is_file()
        else sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    )
    return Weighed(size, peak, new / wall, 1000 * cpu / new, tuple(losses))


def _pieces(place: Path, most: int) -> list[str]:
    text = "\n".join(document.text for source in scan([place]) for document in read_document(source))
    found = [piece for at in range(0, len(text), PIECE) if len((piece := text[at : at + PIECE]).strip()) > PIECE // 2]
    if len(found) < 2:
        raise InputError(f"{place} holds too little text", remedy=f"name a text of more than {2 * PIECE:,} characters")
    return found[:: max(1, len(found) // most)][:most]


def _program(place: str, task: Task | None, lab: Lab) -> Program:
    if (Path(place) / "program.json").is_file():
        return programs.load(Path(place), lab.resources)
    name = f"openvino:{place}" if Path(place).exists() else place
    prompt = Prompt.of(task) if task else Prompt(instruction="")
    return PromptProgram(prompt, lab.resources.model(name), Options.of(task) if task else Options())


def _title(place: str) -> str:
    path = Path(place)
    return path.parent.name if path.name == "program" else path.name
