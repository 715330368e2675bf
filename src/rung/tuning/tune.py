"""Supervised fine-tuning as rungs, by any method: train once, and answer with the tuned weights."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rung.core.errors import InputError
from rung.core.parts.meter import report
from rung.core.protocols import Context, Resources, Traits
from rung.core.settings import Settings
from rung.core.system.threads import run_stoppable
from rung.core.types import Example, FitForecast, Loss, Message, Progress, Task, Training, Usage
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt, show
from rung.tuning.checks import privacy
from rung.tuning.trainer.recipe import LINEAR, Method, Recipe
from rung.tuning.trainer.state import Trained, Watch

if TYPE_CHECKING:
    from rung.tuning.work import Export, Lessons, Tuned

NEEDED = ("torch", "transformers", "peft", "gguf")
EXPORTS: dict[str, Export] = {"f16": "f16", "q8": "q8", "q4": "q4"}
STRETCHES = 200
"""Means of which a curve of losses is drawn at most."""
DEV_ROWS = 200
"""Dev checks look at no more rows than this: enough to rank steps by loss, and a check stays short."""


def untrainable(task: Task, resources: Resources, what: str, done: str) -> str:
    """Why weights cannot be trained on a task: its rows, a package or a model that is missing, what is private."""
    if not task.train:
        return "the task has no train split"
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        return f"{what} needs {', '.join(missing)} (pip install 'rung[tuning]')"
    model = resources.model().name
    if not model.startswith("openvino:"):
        return f"only models of the embedded engine can be {done} and run again, and {model} is not one"
    if task.private is not None and (why := privacy.refuse(privacy.examples((*task.train, *task.dev)), task.private)):
        return f"not trained: {why}"
    return ""


@dataclass(frozen=True)
class Tune:
    """Tune on the train split, stop early by loss on dev, answer with the tuned weights.

    Methods that merge (lora, qlora, full) answer in the embedded engine from a file of kind ``export``; bottleneck,
    prompt and prefix tuning answer through transformers, the adapter beside the base. ``instruction`` short: the prompt
    is the task's instruction alone, labels or schema are left to the weights, which makes every answer cheaper; full:
    the zero-shot prompt. The other options are those of ``Recipe``.
    """

    method: Method = "lora"
    export: str = "f16"
    precision: str = "auto"
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
    upper: float | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("export", EXPORTS), ("instruction", ("short", "full"))):
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
        return EXPORTS[self.export]

    def recipe(self, seed: int) -> Recipe:
        """The training's own settings: the same for every export and so shared."""
        names = {item.name for item in fields(Recipe)} & {item.name for item in fields(self)}
        return Recipe(seed=seed, **{name: getattr(self, name) for name in names - {"seed"}})

    def obstacle(self, task: Task, resources: Resources) -> str:
        if task.train and len({show(example.reference) for example in task.train}) < 2:
            return "every training example has the same answer"
        return untrainable(task, resources, "fine-tuning", "tuned")

    def settle(self) -> Tune:
        """The same rung with what depends on the machine decided."""
        from rung.tuning.compute.precision import settle

        recipe = settle(self.recipe(0))
        return replace(self, precision=recipe.precision, upper=recipe.upper)

    def forecast(self, task: Task, resources: Resources) -> FitForecast:
        """Tokens that training reads at most (early stopping may end it sooner), and seconds of the whole fit on this
        machine. Rungs that differ only in what they export share one training.

        A training that another rung has done is not counted again. A step is tried where none of this base, method and
        machine was timed in the last minutes, which takes some seconds.
        """
        from rung.tuning.batches import Chat
        from rung.tuning.checks.forecast import finishing, forecast
        from rung.tuning.trainer.loop import identity
        from rung.tuning.weights import find_base
        from rung.tuning.work import encode_lessons, place

        settings, recipe = Settings(), self.recipe(0)
        base = find_base(resources.model().name, settings.cache)
        rows, dev, _ = encode_lessons(Chat(base), self.lessons(task))
        folder = place(settings.home / "fits", recipe, identity(base, rows, dev, recipe))
        if (folder / "trained.json").exists():
            return FitForecast(Usage(), finishing(base, self.kind, recipe, settings.cache), str(folder))
        tokens = round(sum(map(len, rows)) * min(float(self.epochs), self.steps * self.batch / len(rows)))
        used = Usage(prompt_tokens=tokens, seconds=forecast(base, rows, dev, recipe))
        return FitForecast(used, finishing(base, self.kind, recipe, settings.cache), str(folder))

    def lessons(self, task: Task) -> Lessons:
        """What the task teaches. Raises FitError when it forbids to learn from its rows as they are."""
        from rung.tuning.work import Lessons

        return Lessons(*teach(self.prompt(task), task))

    def prompt(self, task: Task) -> Prompt:
        """What is said before the input, in training and in use."""
        return Prompt(instruction=task.instruction) if self.instruction == "short" else Prompt.of(task)

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        model = context.resources.model()
        done = await run_stoppable(lambda stop: self._tune(task, model.name, context, stop))
        report(done.trained.usage)
        context.trained(course(done.trained))
        weights = done.files[self.kind]
        provider = "transformers" if self.kind == "adapter" else "openvino"
        asked = context.resources.model(f"{provider}:{weights}")
        return PromptProgram(self.prompt(task), asked, Options.of(task), weights=weights)

    def _tune(self, task: Task, model: str, context: Context, stop: threading.Event) -> Tuned:
        from rung.tuning.checks.forecast import finished
        from rung.tuning.compute.precision import choose
        from rung.tuning.weights import find_base
        from rung.tuning.work import Order, tune

        cache = Settings().cache
        base = find_base(model, cache)
        choice = choose(self.precision)
        context.progress(Progress("precision", 0, None, choice.warning or choice.why))
        order = Order(context.folder.parent, (self.kind,), name=f"{task.name} {self.method}", shared=True)
        watch = Watch(progress=context.progress, stop=stop)
        recipe = self.recipe(context.seed)
        done = tune(base, self.lessons(task), recipe, order, watch)
        finished(base, self.kind, recipe, done.rest, cache)
        return done


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
        trained.precision,
    )


def converse(prompt: Prompt, examples: Sequence[Example]) -> list[tuple[str, list[Message]]]:
    """Examples as the conversations that the program will have: its own messages, then the reference."""
    return [
        (example.id, [*prompt.render(example.input), Message("assistant", show(example.reference))])
        for example in examples
        if example.reference is not None
    ]


def teach(prompt: Prompt, task: Task) -> tuple[list[tuple[str, list[Message]]], list[tuple[str, list[Message]]]]:
    """A task's train and dev splits as conversations. Raises FitError when the task forbids to learn from its rows as
    they are."""
    privacy.demand(privacy.examples((*task.train, *task.dev)), task.private)
    return converse(prompt, task.train), converse(prompt, task.dev[:DEV_ROWS])


LORA_F16 = Tune(export="f16")
LORA_Q8 = Tune(export="q8")
QLORA = Tune(method="qlora")
FULL = Tune(method="full")
BOTTLENECK = Tune(method="bottleneck")
PROMPT_TUNING = Tune(method="prompt")
PREFIX_TUNING = Tune(method="prefix")
