"""A content filter around a program: what is asked and what is answered is checked, and what is blocked goes no
further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from rung.core.codec import decode, encode
from rung.core.errors import InputError
from rung.core.parts.program import inside, nest, unnest
from rung.core.parts.rung import make_rung
from rung.core.protocols import Context, Model, Program, Resources, Traits
from rung.core.system.arrays import read_arrays
from rung.core.types import Answer, Failure, Input, RungChoice, Step, Task, text_of
from rung.foundations.text.tfidf import save_arrays
from rung.safety.filter import ABUSE, RULES, AnyFilter, Filter, RuleFilter, TrainedFilter, read_texts

WEIGHTS = "filter.npz"
Side = Literal["both", "input", "answer"]


@dataclass(eq=False)
class GuardedProgram:
    """``inner``, with its inputs and answers checked by rules and, where ``weights`` are, a trained filter.

    A blocked input is not asked, a blocked answer is not given: in their place stands ``refusal``, or, without one, a
    failure with the code "blocked" and the reason."""

    kind: ClassVar[str] = "guarded"

    inner: Program
    _: KW_ONLY
    rules: Mapping[str, str] = field(default_factory=lambda: {**RULES, "abuse": ABUSE})
    words: tuple[str, ...] = ()
    side: Side = "both"
    refusal: str = ""
    weights: Path | None = None

    def __post_init__(self) -> None:
        filters: list[Filter] = [RuleFilter(self.rules, self.words)] if self.rules or self.words else []
        if self.weights is not None:
            filters.append(TrainedFilter.restore(read_arrays(self.weights)))
        if not filters:
            raise InputError("a guard without rules, words or examples blocks nothing", remedy="give one of them")
        self._check: Filter = AnyFilter(filters)

    @property
    def model(self) -> Model | None:
        return self.inner.model

    def spec(self) -> dict[str, Any]:
        stored = {name: encode(getattr(self, name)) for name in ("rules", "words", "side", "refusal")}
        return {"inner": nest(self.inner), **stored, **({"weights": WEIGHTS} if self.weights is not None else {})}

    def files(self) -> Mapping[str, Path | bytes]:
        return {**self.inner.files(), **({WEIGHTS: self.weights} if self.weights is not None else {})}

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> Self:
        weights = inside(folder, spec["weights"]) if "weights" in spec else None
        return cls(
            unnest(spec["inner"], folder, resources),
            rules=decode(dict[str, str], spec["rules"]),
            words=tuple(spec["words"]),
            side=spec["side"],
            refusal=spec["refusal"],
            weights=weights,
        )

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        if self.side != "answer":
            verdict = self._check(input if isinstance(input, str) else text_of(input))
            if verdict.blocked:
                return self._refused("input", verdict.why, Answer(None))
        answer = await self.inner(input, repeat=repeat)
        if self.side != "input" and answer.failure is None:
            verdict = self._check(answer.raw or str(answer.output))
            if verdict.blocked:
                return self._refused("answer", verdict.why, answer)
        return answer

    def _refused(self, side: str, why: str, answer: Answer) -> Answer:
        """What was used is kept, what was said is not: a server gives out the steps when it is asked for them."""
        steps = tuple(Step(step.name, usage=step.usage) for step in answer.steps)
        if self.refusal:
            return Answer(self.refusal, self.refusal, steps, answer.usage)
        failure = Failure("program", f"the content filter blocked the {side}: {why}", "blocked")
        return Answer(None, "", steps, answer.usage, failure)


@dataclass(frozen=True)
class Guarded:
    """Another rung behind the content filter. ``words`` are blocked besides the rules; ``harmful`` and ``harmless``
    are files of texts that a filter is trained on. ``refusal`` is said in place of what is blocked, where answers are
    free text."""

    traits: ClassVar[Traits] = Traits(optional=True)

    inner: str = "zero-shot"
    side: Side = "both"
    words: tuple[str, ...] = ()
    harmful: str = ""
    harmless: str = ""
    refusal: str = "I cannot help with that."

    def obstacle(self, task: Task, resources: Resources) -> str:
        if bool(self.harmful) != bool(self.harmless):
            return "a filter is trained on both harmful and harmless texts, and one of them is missing"
        if self.side not in ("both", "input", "answer"):
            return f"side is {self.side!r}, expected both, input or answer"
        return make_rung(RungChoice(self.inner)).obstacle(task, resources)

    async def fit(self, task: Task, context: Context) -> GuardedProgram:
        inner = await make_rung(RungChoice(self.inner)).fit(task, context)
        weights = None
        if self.harmful:
            learnt = TrainedFilter.fit(read_texts(Path(self.harmful)), read_texts(Path(self.harmless)))
            weights = context.folder / WEIGHTS
            save_arrays(weights, learnt.arrays())
        refusal = "" if task.form.closed else self.refusal
        return GuardedProgram(inner, words=self.words, side=self.side, refusal=refusal, weights=weights)
