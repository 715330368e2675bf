"""Who plays: prompts answered by the embedded engine with the adapter as it is now, or episodes of an environment drawn
from a table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from rung.alignment.policies.language import LanguagePolicy
from rung.alignment.policies.policy import Trajectory
from rung.alignment.policies.table import ListedWorld, TablePolicy
from rung.alignment.rewards.reward import Reward, Scored
from rung.alignment.rewards.robust import Defence, defend
from rung.core.errors import FitError, InputError
from rung.core.settings import Settings
from rung.core.text.reply import read_reply
from rung.core.types import Case, Example, Failure, Message, Reply, Request, ResponseFormat, Sampling
from rung.models.engine.openvino.engine import share_engine
from rung.models.engine.openvino.model import OpenvinoModel
from rung.tuning.batches import shuffle
from rung.tuning.weights import Base


class Player(Protocol):
    """Takes actions with the policy as it is. Equal steps and parameters, equal trajectories."""

    async def play(self, step: int) -> list[Trajectory]: ...
    async def gold(self) -> list[float]:
        """Scores of the frozen sample that nothing is learnt from, under what is really wished for; empty: there is
        none."""
        ...


@dataclass(frozen=True)
class AskedExample:
    """An example with the messages that ask it."""

    example: Example
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """How much is played: ``replies`` to each of ``prompts`` a step, of at most ``max_tokens`` at ``temperature``."""

    prompts: int = 4
    replies: int = 8
    max_tokens: int = 32
    temperature: float = 0.8
    seed: int = 0

    def validate(self, held: int) -> None:
        """Raises InputError for what cannot be. ``held``: examples on which before and after are compared."""
        if min(self.prompts, self.replies, self.max_tokens, held) < 1 or not self.temperature > 0:
            raise InputError(
                f"got prompts {self.prompts}, replies {self.replies}, max_tokens {self.max_tokens}, held {held}, "
                f"temperature {self.temperature:g}",
                remedy="expected at least 1 of each, and a temperature above 0",
                code="setting",
            )


def mix(*parts: object) -> int:
    """A seed from what it stands for."""
    key = ":".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big")


class Sampler:
    """The embedded engine with one adapter that changes in place. ``close`` it."""

    def __init__(self, base: Base, policy: LanguagePolicy, settings: Settings) -> None:
        if base.gguf is None:
            raise FitError(
                f"{base.folder} is no GGUF, and replies are sampled by the embedded engine",
                remedy="name a model of the embedded engine: model: smollm2-135m",
            )
        self._policy = policy
        self._engine = share_engine(base.gguf, settings, adapters=True)
        first = policy.lora()
        # A name of its own: another run may begin with the same matrices, and each changes its own.
        self.model = OpenvinoModel(base.gguf.stem, self._engine, replace(first, key=f"{first.key}-{id(self):x}"))

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies under the policy as it is now. Raises FitError when none came."""
        self.model.adapt(self._policy.lora())
        replies = await self.model.generate(requests)
        if all(reply.finish == "error" for reply in replies):
            raise FitError(f"no reply could be sampled: {replies[0].text}", remedy="shorten the prompts")
        return replies

    @property
    def key(self) -> str:
        """Identity of the policy as it is now."""
        return self._policy.lora().key

    async def close(self) -> None:
        await self.model.close()


def case_of(question: AskedExample, form: ResponseFormat, reply: Reply) -> Case:
    """What a metric sees of a sampled reply: read as a climb reads it."""
    if reply.finish == "error":
        return Case(question.example.input, None, question.example.reference, "", Failure.of_reply(reply))
    output, complaint = read_reply(form, reply.text)
    failure = Failure("parse", complaint) if complaint else None
    return Case(question.example.input, output, question.example.reference, reply.text, failure)


@dataclass
class TaskPlayer:
    """Answers a task's questions. What is learnt from are the weighted metrics of ``reward`` after all ``defences``;
    ``gold`` is measured on ``held`` by what is really wished for."""

    sampler: Sampler
    questions: Sequence[AskedExample]
    held: Sequence[AskedExample]
    form: ResponseFormat
    reward: Reward
    wished: Reward
    drawing: Drawing
    defences: Sequence[Defence] = ()
    failed: int = field(default=0, init=False)
    _held: tuple[str, list[tuple[Reply, Case]]] = field(default=("", []), init=False, repr=False)

    async def play(self, step: int) -> list[Trajectory]:
        drawing, chosen = self.drawing, self.choose(step)
        asked = [(at, question, reply) for at, question in enumerate(chosen) for reply in range(drawing.replies)]
        requests = [
            self._request(question, drawing.temperature, mix(drawing.seed, step, at, reply))
            for at, question, reply in asked
        ]
        replies = await self.sampler.ask(requests)
        kept = [(at, question, reply) for (at, question, _), reply in zip(asked, replies, strict=True) if reply.ids]
        self.failed += len(replies) - len(kept)
        parts = await self.reward.score([case_of(question, self.form, reply) for _, question, reply in kept])
        weighted = [self._weighted(part) for part in parts]
        totals = [self.reward.total(part) for part in parts]
        totals = defend(self.defences, totals, weighted, [len(reply.ids) for _, _, reply in kept])
        return [
            Trajectory(
                at,
                tuple(self._ids(question)),
                reply.ids,
                (*(0.0,) * (len(reply.ids) - 1), total),
                part,
                question.example.id,
                reply.text,
                reply.logprobs or (),
                reply.finish == "length",
            )
            for (at, question, reply), total, part in zip(kept, totals, parts, strict=True)
        ]

    def choose(self, step: int) -> list[AskedExample]:
        """The questions of a step: every question once before any comes again."""
        drawing, count = self.drawing, len(self.questions)
        places = range(step * drawing.prompts, (step + 1) * drawing.prompts)
        return [self.questions[shuffle(count, place // count, drawing.seed)[place % count]] for place in places]

    async def answer(self) -> list[tuple[Reply, Case]]:
        """The most probable reply to each held question, as a climb would get it; asked once of each adapter."""
        key = self.sampler.key
        if self._held[0] != key:
            replies = await self.sampler.ask([self._request(question, 0.0, 0) for question in self.held])
            cases = [(r, case_of(question, self.form, r)) for question, r in zip(self.held, replies, strict=True)]
            self._held = (key, cases)
        return self._held[1]

    async def gold(self) -> list[float]:
        if not self.held:
            return []
        found = await self.wished.score([case for _, case in await self.answer()])
        return [self.wished.total(part) for part in found]

    def _request(self, question: AskedExample, temperature: float, seed: int) -> Request:
        sampling = Sampling(temperature, max_tokens=self.drawing.max_tokens, seed=seed, logprobs=True)
        return Request(question.messages, sampling)

    def _ids(self, question: AskedExample) -> Sequence[int]:
        return self.sampler.model.tokens(question.messages)

    def _weighted(self, part: Scored) -> dict[str, float]:
        return {m.name: (weight if m.higher_is_better else -weight) * part[m.name] for m, weight in self.reward.parts}


@dataclass
class WorldPlayer:
    """Plays scenarios of an environment from a table: ``replies`` episodes of each of ``prompts`` scenarios a step."""

    policy: TablePolicy
    world: ListedWorld
    scenarios: Sequence[str]
    held: Sequence[str]
    drawing: Drawing

    async def play(self, step: int) -> list[Trajectory]:
        drawing, out = self.drawing, []
        for at in range(drawing.prompts):
            scenario = self.scenarios[(step * drawing.prompts + at) % len(self.scenarios)]
            for reply in range(drawing.replies):
                seed = mix(drawing.seed, step, at, reply)
                one = self.world.play(self.policy, scenario, seed, drawing.max_tokens)
                out.append(replace(one, group=at))
        return [one for one in out if one.actions]

    async def gold(self) -> list[float]:
        """Returns of one episode of each held-out scenario."""
        drawing = self.drawing
        return [
            self.world.play(self.policy, scenario, mix(drawing.seed, "held", scenario), drawing.max_tokens).total
            for scenario in self.held
        ]
