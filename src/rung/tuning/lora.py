"""LoRA supervised fine-tuning as rungs: train once, merge, and run the merged weights in the engine at F16 or Q8_0."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

from rung.core.codec import decode, encode
from rung.core.errors import FitError
from rung.core.lock import hold
from rung.core.meter import report
from rung.core.program import file_hash
from rung.core.protocols import Context, Resources
from rung.core.settings import Settings
from rung.core.types import Example, Message, Progress, Task, Usage
from rung.prompts.program import Options, PromptProgram
from rung.prompts.prompt import Prompt, show
from rung.tuning.loop import Trained, write
from rung.tuning.recipe import LINEAR, Recipe

NEEDED = ("torch", "transformers", "peft", "gguf")
DEV_ROWS = 200
"""Dev checks look at no more rows than this: enough to rank steps by loss, and a check stays short."""


@dataclass(frozen=True)
class Lora:
    """Tune on the train split, stop early by loss on dev, answer with the merged weights at ``precision``.

    ``instruction`` short: the prompt is the task's instruction alone, labels or schema are left to the weights, which makes
    every answer cheaper; full: the zero-shot prompt. The other options are those of ``Recipe``.
    """

    tuned: ClassVar[bool] = True
    precision: str = "f16"
    instruction: str = "short"
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = LINEAR
    rslora: bool = False
    dora: bool = False
    rate: float = 1e-3
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
        for name, allowed in (
            ("precision", ("f16", "q8")),
            ("instruction", ("short", "full")),
            ("schedule", ("cosine", "linear", "constant")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected {' or '.join(allowed)}")

    def recipe(self, seed: int) -> Recipe:
        """The training's own settings: the same for every precision and so shared."""
        schedule: Literal["cosine", "linear", "constant"] = self.schedule  # type: ignore[assignment]
        return Recipe(
            rank=self.rank,
            alpha=self.alpha,
            dropout=self.dropout,
            targets=self.targets,
            rslora=self.rslora,
            dora=self.dora,
            rate=self.rate,
            schedule=schedule,
            warmup=self.warmup,
            epochs=self.epochs,
            steps=self.steps,
            batch=self.batch,
            tokens=self.tokens,
            decay=self.decay,
            clip=self.clip,
            patience=self.patience,
            seed=seed,
        )

    def fits(self, task: Task, resources: Resources) -> str:
        if not task.train:
            return "the task has no train split"
        if len({show(example.reference) for example in task.train}) < 2:
            return "every training example has the same answer"
        if missing := [name for name in NEEDED if find_spec(name) is None]:
            return f"fine-tuning needs {', '.join(missing)} (pip install 'rung[tuning]')"
        model = resources.model().name
        if not model.startswith("openvino:"):
            return f"only models of the embedded engine can be tuned and run again, and {model} is not one"
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
        return PromptProgram(prompt, context.resources.model(f"openvino:{weights}"), Options.of(task), weights=weights)

    def _tune(
        self, task: Task, prompt: Prompt, model: str, context: Context, halt: threading.Event
    ) -> tuple[Path, Trained]:
        """Train unless it is done, then write the GGUF unless it is there."""
        from rung.tuning.weights import find_base, load_torch

        load_torch()
        from rung.tuning import export
        from rung.tuning.batches import Chat
        from rung.tuning.batches import encode as encode_rows
        from rung.tuning.loop import identity, train
        from rung.tuning.preflight import inspect
        from rung.tuning.session import open_session

        say = context.progress
        say(Progress("read the base", 0, None))
        base = find_base(model, Settings().cache)
        recipe = self.recipe(context.seed)
        chat = Chat(base)
        conversations = converse(prompt, task.train)
        rows, dropped = encode_rows(chat, conversations)
        dev, _ = encode_rows(chat, converse(prompt, task.dev[:DEV_ROWS])) if task.dev else ([], 0)
        key = identity(base, rows, dev, recipe)
        folder = context.folder.parent / f"lora-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"lora-{self.precision}.gguf"

        def pause(_: float) -> None:
            if halt.wait(1.0):
                raise FitError("stopped while waiting for another training", remedy="run the same again")

        with hold(folder / ".lock", pause):  # one training of a key at a time
            trained = _done(folder)
            if trained is not None and _kept(target):
                return target, trained
            session = open_session(base, recipe)
            try:
                if trained is None:
                    if not (folder / "checkpoint.json").exists():
                        say(Progress("pre-flight", 0, None))
                        checks = inspect(session, base, chat, rows, conversations, recipe)
                        (folder / "preflight.txt").write_text(f"{checks}\n", encoding="utf-8")
                        checks.demand()
                        left_out = f"; {dropped} rows too long" if dropped else ""
                        say(Progress("pre-flight", 1, 1, f"passed; about {checks.seconds:.0f} s to train{left_out}"))
                    trained = train(session, base, rows, dev, recipe, folder, progress=say, stop=halt)
                    export.save_adapter(session, base, recipe, folder / "adapter")
                    write(folder / "trained.json", json.dumps(encode(trained)).encode())
                else:
                    export.load_adapter(session, folder / "adapter")
                say(Progress(f"write {self.precision}", 0, None))
                precision: export.Precision = "q8" if self.precision == "q8" else "f16"
                export.save_gguf(export.merge(session), base, target, precision, name=f"{task.name} lora")
                write(target.with_suffix(".sha256"), file_hash(target).encode())
            finally:
                del session
                gc.collect()
        return target, trained


def converse(prompt: Prompt, examples: Sequence[Example]) -> list[tuple[str, list[Message]]]:
    """Examples as the conversations that the program will have: its own messages, then the reference."""
    return [
        (example.id, [*prompt.render(example.input), Message("assistant", show(example.reference))])
        for example in examples
        if example.reference is not None
    ]


def _done(folder: Path) -> Trained | None:
    try:
        return decode(Trained, json.loads((folder / "trained.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError):
        return None


def _kept(target: Path) -> bool:
    try:
        return target.with_suffix(".sha256").read_text(encoding="ascii") == file_hash(target)
    except OSError:
        return False


LORA_F16 = Lora(precision="f16")
LORA_Q8 = Lora(precision="q8")
