"""Supervised fine-tuning as rungs, by any method: train once, and answer with the tuned weights."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rung.core.errors import InputError
from rung.core.meter import report
from rung.core.protocols import Context, Resources, Traits
from rung.core.settings import Settings
from rung.core.types import Example, Loss, Message, Task, Training, Usage
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt, show
from rung.tuning import gate
from rung.tuning.loop import Trained
from rung.tuning.recipe import LINEAR, Method, Recipe

if TYPE_CHECKING:
    from rung.tuning.work import Export

NEEDED = ("torch", "transformers", "peft", "gguf")
PRECISIONS: dict[str, Export] = {"f16": "f16", "q8": "q8", "q4": "q4"}
STRETCHES = 200
"""Means of which a curve of losses is drawn at most."""
DEV_ROWS = 200
"""Dev checks look at no more rows than this: enough to rank steps by loss, and a check stays short."""


@dataclass(frozen=True)
class Tune:
    """Tune on the train split, stop early by loss on dev, answer with the tuned weights.

    Methods that merge (lora, qlora, full) answer in the embedded engine at ``precision``; bottleneck, prompt and prefix tuning
    answer through transformers, the adapter beside the base. ``instruction`` short: the prompt is the task's instruction
    alone, labels or schema are left to the weights, which makes every answer cheaper; full: the zero-shot prompt. The other
    options are those of ``Recipe``.
    """

    method: Method = "lora"
    precision: str = "f16"
    instruction: str = "short"
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = LINEAR
    rslora: bool = False
    dora: bool = False
    bits: int = 4
    reduction: int = 16
    virtual: int = 16
    rate: float | None = None
    schedule: str = "cosine"
    warmup: float = 0.1
    epochs: int = 5
    steps: int = 200
    batch: int = 16
    tokens: int = 1024
    decay: float = 0.0
    clip: float = 1.0
    patience: int = 2

    def __post_init__(self) -> None:
        for name, allowed in (("precision", PRECISIONS), ("instruction", ("short", "full"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected {' or '.join(allowed)}")
        try:
            self.recipe(0).validate()
        except InputError as error:
            raise ValueError(error.message) from None

    @property
    def traits(self) -> Traits:
        """Only LoRA is climbed unasked: the others cost as much again."""
        return Traits(tuned=True, optional=self.method != "lora")

    @property
    def kind(self) -> Export:
        """What is written and answered with."""
        if self.method not in ("lora", "qlora", "full"):
            return "adapter"
        return PRECISIONS[self.precision]

    def recipe(self, seed: int) -> Recipe:
        """The training's own settings: the same for every precision and so shared."""
        names = {item.name for item in fields(Recipe)} & {item.name for item in fields(self)}
        return Recipe(seed=seed, **{name: getattr(self, name) for name in names - {"precision", "seed"}})

    def obstacle(self, task: Task, resources: Resources) -> str:
        if not task.train:
            return "the task has no train split"
        if len({show(example.reference) for example in task.train}) < 2:
            return "every training example has the same answer"
        if missing := [name for name in NEEDED if find_spec(name) is None]:
            return f"fine-tuning needs {', '.join(missing)} (pip install 'rung[tuning]')"
        model = resources.model().name
        if not model.startswith("openvino:"):
            return f"only models of the embedded engine can be tuned and run again, and {model} is not one"
        if task.private is not None and (why := gate.refuse(gate.examples((*task.train, *task.dev)), task.private)):
            return f"not trained: {why}"
        return ""

    def forecast(self, task: Task, resources: Resources) -> Usage:
        """Tokens that training will read at most (early stopping may end it sooner); trains nothing."""
        model, prompt = resources.model(), self.prompt(task)
        rows = [model.count(messages) for _, messages in converse(prompt, task.train)]
        passes = min(float(self.epochs), self.steps * self.batch / max(len(rows), 1))
        return Usage(prompt_tokens=round(sum(rows) * passes))

    def prompt(self, task: Task) -> Prompt:
        """What is said before the input, in training and in use."""
        return Prompt(instruction=task.instruction) if self.instruction == "short" else Prompt.of(task)

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        prompt = self.prompt(task)
        model = context.resources.model()
        halt = threading.Event()
        work = asyncio.create_task(asyncio.to_thread(self._tune, task, prompt, model.name, context, halt))
        try:
            weights, trained = await asyncio.shield(work)
        except asyncio.CancelledError:
            halt.set()  # the step in progress ends, its state is kept, then the thread returns
            await asyncio.wait([work])
            raise
        report(trained.usage)
        context.trained(course(trained))
        provider = "transformers" if self.kind == "adapter" else "openvino"
        return PromptProgram(
            prompt, context.resources.model(f"{provider}:{weights}"), Options.of(task), weights=weights
        )

    def _tune(
        self, task: Task, prompt: Prompt, model: str, context: Context, halt: threading.Event
    ) -> tuple[Path, Trained]:
        from rung.tuning.weights import find_base
        from rung.tuning.work import Material, tune

        conversations, dev = teach(prompt, task)
        material = Material(conversations, dev)
        done = tune(
            find_base(model, Settings().cache),
            material,
            self.recipe(context.seed),
            context.folder.parent,
            (self.kind,),
            name=f"{task.name} {self.method}",
            shared=True,
            progress=context.progress,
            stop=halt,
        )
        return done.files[self.kind], done.trained


def course(trained: Trained) -> Training:
    """How a training's losses went, in at most STRETCHES means."""
    size = max(1, math.ceil(len(trained.losses) / STRETCHES))
    parts = [(at, trained.losses[at : at + size]) for at in range(0, len(trained.losses), size)]
    return Training(
        trained.step,
        trained.total,
        tuple(Loss(at + len(part), math.fsum(part) / len(part)) for at, part in parts),
        tuple(Loss(mark.step, mark.loss) for mark in trained.checks),
        trained.best.step if trained.best is not None else 0,
        trained.stopped,
    )


def converse(prompt: Prompt, examples: Sequence[Example]) -> list[tuple[str, list[Message]]]:
    """Examples as the conversations that the program will have: its own messages, then the reference."""
    return [
        (example.id, [*prompt.render(example.input), Message("assistant", show(example.reference))])
        for example in examples
        if example.reference is not None
    ]


def teach(prompt: Prompt, task: Task) -> tuple[list[tuple[str, list[Message]]], list[tuple[str, list[Message]]]]:
    """A task's train and dev splits as conversations. Raises FitError when the task forbids to learn from its rows as they are."""
    gate.demand(gate.examples((*task.train, *task.dev)), task.private)
    return converse(prompt, task.train), converse(prompt, task.dev[:DEV_ROWS])


LORA_F16 = Tune(precision="f16")
LORA_Q8 = Tune(precision="q8")
QLORA = Tune(method="qlora")
FULL = Tune(method="full")
BOTTLENECK = Tune(method="bottleneck")
PROMPT_TUNING = Tune(method="prompt")
PREFIX_TUNING = Tune(method="prefix")
