"""Compression as rungs: what LoRA has learnt of the task (the training is shared with the lora rungs), made smaller,
answers."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from rung.compression.job import PLANS, Compressed, CompressionSource, Plan, compress
from rung.compression.rungs import METHODS
from rung.core.parts.meter import report
from rung.core.protocols import Context, Resources, Traits
from rung.core.settings import Settings
from rung.core.system.threads import run_stoppable
from rung.core.types import FitForecast, Progress, Task, Usage
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt, show
from rung.tuning.trainer.state import Watch
from rung.tuning.tune import Tune, course

DEV_ROWS = 64
"""Rows of dev that a recovery is stopped by."""


@dataclass(frozen=True)
class CompressionRung:
    """``method`` is one of PLANS; what is not 0 or empty wins over its plan: ``bits`` of the file, shares of
    ``layers``, ``heads`` and ``channels`` that go, ``sparse``, ``steps`` of recovery. ``of``: lora (tuned in at most
    ``tuned`` steps before) or base."""

    method: str = "int4"
    of: str = "lora"
    bits: int = 0
    layers: float = 0.0
    heads: float = 0.0
    channels: float = 0.0
    sparse: str = ""
    steps: int = 0
    tuned: int = 200

    def __post_init__(self) -> None:
        if self.method not in PLANS or self.of not in ("lora", "base"):
            raise ValueError(f"method is {self.method!r} of {self.of!r}, expected {', '.join(PLANS)} of lora or base")

    @property
    def traits(self) -> Traits:
        """Climbed only where it is named: what it is worth shows beside the rung that it makes smaller."""
        return Traits(tuned=True, optional=True)

    @property
    def plan(self) -> Plan:
        names = ("bits", "layers", "heads", "channels", "sparse", "steps")
        return replace(PLANS[self.method], **{name: getattr(self, name) for name in names if getattr(self, name)})

    @property
    def _tune(self) -> Tune:
        return Tune(steps=self.tuned)

    def obstacle(self, task: Task, resources: Resources) -> str:
        return self._tune.obstacle(task, resources)

    def forecast(self, task: Task, resources: Resources) -> FitForecast:
        """What the tuning takes, and the rows of the recovery behind it."""
        plan = self.plan
        before = self._tune.forecast(task, resources) if self.of == "lora" else FitForecast(Usage())
        if plan.teach == "none":
            return before
        each = sum(len(show(example.reference)) for example in task.train) // max(1, 4 * len(task.train)) + 16
        return FitForecast(before.usage + Usage(prompt_tokens=each * plan.steps * plan.batch), before.rest)

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        model = context.resources.model()
        done = await run_stoppable(lambda stop: self._compress(task, model.name, context, stop))
        report(done.usage)
        if done.trained is not None:
            context.trained(course(done.trained))
        context.progress(Progress("compressed", 1, 1, f"{done.size / 1e6:.0f} MB {done.kept}".strip()))
        weights = Path(done.file)
        asked = context.resources.model(f"openvino:{weights}")
        return PromptProgram(self._prompt(task), asked, Options.of(task), weights=weights)

    def _prompt(self, task: Task) -> Prompt:
        return self._tune.prompt(task) if self.of == "lora" else Prompt.of(task)

    def _compress(self, task: Task, model: str, context: Context, stop: threading.Event) -> Compressed:
        from rung.tuning.compute.precision import settle
        from rung.tuning.tune import teach
        from rung.tuning.weights import find_base
        from rung.tuning.work import Lessons, Order, tune

        base = find_base(model, Settings().cache)
        watch = Watch(progress=context.progress, stop=stop)
        train, dev = teach(self._prompt(task), task)
        source = CompressionSource(base)
        if self.of == "lora":
            recipe = settle(self._tune.recipe(context.seed))
            order = Order(context.folder.parent, ("adapter",), name=task.name, shared=True)
            tuned = tune(base, self._tune.lessons(task), recipe, order, watch)
            report(tuned.trained.usage)
            source = CompressionSource(base, tuned.files["adapter"], recipe)
        return compress(source, Lessons(train, dev[:DEV_ROWS]), self.plan, context.folder, watch)


def __getattr__(name: str) -> CompressionRung:
    """``rung.compression.rung:two_four`` is the rung of the method two-four."""
    method = name.replace("_", "-")
    if method in METHODS:
        return CompressionRung(method)
    raise AttributeError(name)
