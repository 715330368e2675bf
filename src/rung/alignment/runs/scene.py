"""A language model that plays an environment of agents in plain words: what it sees is said by the user, what it says
is done.

Each reply is a trajectory of its own, whose context is the conversation before it and whose return is all that came
from it on; only replies are learnt from. Replies to one scenario at one turn are a group, so that what they are
compared with comes from other episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rung.agents.environments.environment import Environment, Observation
from rung.agents.loop.move import Call
from rung.alignment.policies.policy import Trajectory
from rung.alignment.policies.table import list_calls
from rung.alignment.runs.player import Drawing, Sampler, mix
from rung.core.errors import InputError
from rung.core.types import Message, Reply, Request, Sampling

TURNS = 8
"""Replies in an episode at most."""
WRONG = -1.0
"""What a reply costs that is none of the moves there are."""


class Moves:
    """How words become calls: one of the listed moves, where the tools' arguments are listed; else all of the reply is
    the one text that the one tool takes. Raises InputError for other tools."""

    def __init__(self, environment: Environment) -> None:
        tools = list(environment.tools())
        fields = list(tools[0].schema.get("properties", {}))
        self.free = ""
        self.named: dict[str, Call] = {}
        if len(tools) == 1 and len(fields) == 1 and "enum" not in tools[0].schema["properties"][fields[0]]:
            self.free, self._tool = fields[0], tools[0].name
            return
        for call in list_calls(tools):
            words = [] if len(tools) == 1 else [call.tool]
            self.named[" ".join([*words, *map(str, call.arguments.values())]).casefold()] = call
        if not self.named:
            raise InputError(f"{environment.name} has no moves that can be named", remedy="choose another environment")

    def told(self) -> str:
        """What the model is told of them."""
        return "Answer in one short sentence." if self.free else f"Answer with one of: {', '.join(self.named)}."

    def read(self, text: str) -> Call | None:
        """The call that a reply asks for: the move that it names first; None: it names none."""
        if self.free:
            return Call(self._tool, {self.free: text.strip()}) if text.strip() else None
        said = text.casefold()
        places = {name: said.find(name) for name in self.named if name in said}
        return self.named[min(places, key=lambda name: (places[name], -len(name)))] if places else None


@dataclass
class _Scene:
    """One episode in progress."""

    scenario: str
    group: int
    seed: int
    world: Environment
    messages: list[Message]
    replies: list[tuple[tuple[int, ...], Reply, float]] = field(default_factory=list)
    wrong: int = 0
    done: bool = False


@dataclass
class ScenePlayer:
    """Plays ``replies`` episodes of each of ``prompts`` scenarios a step, all of them turn by turn together."""

    sampler: Sampler
    environment: Environment
    scenarios: Sequence[str]
    held: Sequence[str]
    drawing: Drawing
    instruction: str = ""
    length: float = field(default=0.0, init=False)
    """Tokens in an episode, when the held scenarios were last played."""
    _held: tuple[str, list[float]] = field(default=("", []), init=False, repr=False)

    async def play(self, step: int) -> list[Trajectory]:
        drawing = self.drawing
        scenes = []
        for at in range(drawing.prompts):
            scenario = self.scenarios[(step * drawing.prompts + at) % len(self.scenarios)]
            scenes += [
                self._begin(scenario, at, mix(drawing.seed, step, at, reply)) for reply in range(drawing.replies)
            ]
        await self._play(scenes, drawing.temperature)
        return [one for scene in scenes for one in self._trajectories(scene)]

    async def gold(self) -> list[float]:
        """Returns of the held-out scenarios, played by the most probable replies."""
        if self._held[0] != self.sampler.key:
            scenes = [self._begin(scenario, at, 0) for at, scenario in enumerate(self.held)]
            await self._play(scenes, 0.0)
            self._held = self.sampler.key, [sum(reward for _, _, reward in scene.replies) for scene in scenes]
            self.length = sum(len(reply.ids) for scene in scenes for _, reply, _ in scene.replies) / max(1, len(scenes))
        return self._held[1]

    def _begin(self, scenario: str, group: int, seed: int) -> _Scene:
        world = self.environment.fork()
        seen = world.reset(scenario)
        told = " ".join(filter(None, [self.instruction, Moves(world).told()]))
        return _Scene(
            scenario, group, seed, world, [Message("system", told), Message("user", seen.text)], done=seen.done
        )

    async def _play(self, scenes: Sequence[_Scene], temperature: float) -> None:
        for turn in range(TURNS):
            active = [scene for scene in scenes if not scene.done]
            if not active:
                return
            replies = await self.sampler.ask([self._request(scene, temperature, turn) for scene in active])
            for scene, reply in zip(active, replies, strict=True):
                self._do(scene, reply)

    def _request(self, scene: _Scene, temperature: float, turn: int) -> Request:
        sampling = Sampling(temperature, max_tokens=self.drawing.max_tokens, seed=mix(scene.seed, turn), logprobs=True)
        return Request(tuple(scene.messages), sampling)

    def _do(self, scene: _Scene, reply: Reply) -> None:
        """Take a reply as a move. One that could not be sampled (the conversation is too long) ends the episode."""
        if not reply.ids:
            scene.done = True
            return
        ids = tuple(self.sampler.model.tokens(scene.messages))
        moves = Moves(scene.world)
        call = moves.read(reply.text)
        seen = scene.world.step(call) if call else Observation(moves.told(), reward=WRONG)
        scene.wrong += call is None
        scene.replies.append((ids, reply, seen.reward))
        scene.messages += [Message("assistant", reply.text), Message("user", seen.text)]
        scene.done = seen.done

    def _trajectories(self, scene: _Scene) -> list[Trajectory]:
        solved = float(scene.world.judge(None).solved)
        total = sum(reward for _, _, reward in scene.replies)
        parts = {"return": total, "solved": solved, "turns": float(len(scene.replies)), "wrong": float(scene.wrong)}
        out, rest = [], total
        for turn, (ids, reply, reward) in enumerate(scene.replies):
            rewards = (*(0.0,) * (len(reply.ids) - 1), rest)
            one = Trajectory(scene.group * TURNS + turn, ids, reply.ids, rewards, parts, scene.scenario, reply.text)
            out.append(replace(one, sampled=reply.logprobs or (), cut=reply.finish == "length"))
            rest -= reward
        return out
