"""Alignment as rungs: the train split is answered, the task's own metrics are the reward, and the aligned weights
answer."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from rung.alignment.methods.names import METHODS
from rung.core.errors import InputError
from rung.core.parts.meter import report
from rung.core.protocols import Context, Resources, Traits
from rung.core.settings import Settings
from rung.core.system.threads import run_stoppable
from rung.core.types import FitForecast, Progress, Task, Usage
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt
from rung.tuning.tune import untrainable


@dataclass(frozen=True)
class AlignRung:
    """Optimise the task's first metric (or ``reward``) on the train split, and answer with the aligned weights. dpo
    learns from pairs of the model's own answers, the best against the worst of ``replies``. ``rank``, ``upper`` and
    ``rate`` are LoRA's."""

    method: str = "grpo"
    reward: str = ""
    steps: int = 20
    prompts: int = 4
    replies: int = 8
    temperature: float = 0.8
    rate: float = 1e-3
    rank: int = 8
    upper: float = 0.34
    instruction: str = "full"

    def __post_init__(self) -> None:
        if self.method not in (*METHODS, "dpo") or self.instruction not in ("short", "full"):
            raise ValueError(f"method is {self.method!r} and instruction {self.instruction!r}")

    @property
    def traits(self) -> Traits:
        """Climbed only where it is named: it takes minutes, and needs a reward that answers of the base differ in."""
        return Traits(tuned=True, optional=True)

    def obstacle(self, task: Task, resources: Resources) -> str:
        return untrainable(task, resources, "alignment", "aligned")

    def forecast(self, task: Task, resources: Resources) -> FitForecast:
        """Tokens of all answers at their longest, and of the prompts that they are given to; the time is not known
        before."""
        from rung.tuning.batches import Chat
        from rung.tuning.tune import Tune
        from rung.tuning.weights import find_base
        from rung.tuning.work import encode_lessons

        chat = Chat(find_base(resources.model().name, Settings().cache))
        rows, _, _ = encode_lessons(chat, Tune(instruction=self.instruction).lessons(task))
        answers = self.steps * self.prompts * self.replies
        prompts = round(answers * sum(row.start for row in rows) / len(rows))
        return FitForecast(Usage(prompt_tokens=prompts, completion_tokens=answers * task.max_tokens))

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        from rung.alignment.runs.align import AlignmentResult, align_language
        from rung.alignment.runs.config import understand
        from rung.alignment.runs.course import Spectator

        model = context.resources.model()
        given = {
            "method": self.method,
            "model": model.name,
            "task": task.name,
            "out": str(context.folder),
            "exports": ["adapter", "f16"],
            "max_tokens": task.max_tokens,
            "seed": context.seed,
            **{
                name: getattr(self, name)
                for name in ("steps", "prompts", "replies", "temperature", "rate", "rank", "upper")
            },
            **({"reward": self.reward} if self.reward else {}),
        }
        folder = Path(task.path).parent if task.path else context.folder
        config = replace(understand(given, folder), instruction=self.instruction)

        def run(stop: threading.Event) -> AlignmentResult:
            watch = Spectator(progress=context.progress, stop=stop)
            return align_language(config, task, context.resources, Settings(), watch)

        done = await run_stoppable(run)
        report(done.course.usage)
        context.progress(Progress("aligned", 1, 1, done.course.stopped))
        weights = config.out / "tuned-f16.gguf"
        if not weights.is_file():
            raise InputError(f"{weights} was not written", remedy="climb the rung again")
        prompt = Prompt(instruction=task.instruction) if self.instruction == "short" else Prompt.of(task)
        return PromptProgram(prompt, context.resources.model(f"openvino:{weights}"), Options.of(task), weights=weights)


REINFORCE = AlignRung("reinforce")
RLOO = AlignRung("rloo")
GRPO = AlignRung("grpo")
PPO = AlignRung("ppo")
TRPO = AlignRung("trpo")
DPO = AlignRung("dpo")
