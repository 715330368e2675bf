"""An agent that is killed again and again: what it did, and what it wrote down."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from rung.agents.loop.episode import Episode, Start
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.log import Agent
from rung.agents.loop.move import Call, Decision, act, finish
from rung.agents.loop.toolset import Toolset
from rung.agents.loop.view import View
from rung.agents.tools.function import tool
from rung.core.protocols import Effect
from rung.core.types.trail import Event
from rung.store import Durability, Store, open_store

STEPS = 30


@dataclass(frozen=True)
class Clerk:
    """Posts, looks and posts: ``steps`` of them, then says how many there are."""

    steps: int = STEPS

    async def decide(self, view: View) -> Decision:
        if view.steps >= self.steps:
            return finish(f"{self.steps} steps")
        if view.steps % 5 == 4:
            return Decision((Call("look", {"at": view.steps}), Call("look", {"at": view.steps + 1000})))
        return act("post", text=f"entry {view.steps}")


def agent(store: Store, sent: Path, effect: Effect, steps: int = STEPS) -> Agent:
    """``post`` keeps an effect in the store under its key (keyed), or writes a line that cannot be taken back (once)."""

    async def post(text: str, key: str) -> str:
        if effect == "once":
            with sent.open("a") as stream:
                stream.write(f"{key} {text}\n")
            return f"sent {text}"
        return await store.episodes.trail().perform(f"ledger/{key}", text)

    def look(at: int) -> int:
        return at

    tools = Toolset([tool(post, effect=effect), tool(look)])
    return Agent(Clerk(steps), tools, limits=EpisodeLimits(steps=10_000, loops=False), identity="clerk")


def drive(url: str, sent: Path, effect: Effect, acknowledged: int, durability: Durability) -> None:
    """Run or go on with the episode; the number of each event that the trail has acknowledged goes to the pipe."""

    async def work() -> None:
        with open_store(url) as store:
            trail = store.episodes.trail(durability)
            inner = type(trail).append

            class Told(type(trail)):  # type: ignore[misc]
                async def append(self, events: list[Event], driver: object = None, letters: object = ()) -> None:
                    await inner(self, events, driver, letters)  # type: ignore[arg-type]
                    os.write(acknowledged, f"{events[-1].seq}\n".encode())

            told = Told(trail.table, durability)
            view = await Episode(agent(store, sent, effect), "e", told).run(Start("post"))
            if view.waiting:  # a person looks whether it was sent
                key = next(iter(view.open.values())).key
                done = sent.exists() and any(line.startswith(f"{key} ") for line in sent.read_text().splitlines())
                said = {"do": "say", "text": "it was sent" if done else "it was not sent"}
                await trail.append([Event("e", view.last.seq + 1, "steered", said, time.time())])  # type: ignore[union-attr]

    asyncio.run(work())


@dataclass
class Outcome:
    """What came of it: ``kills``; ``lost`` acknowledged events; keys of effects that came ``twice``; ``whole``: it ended as it would
    have without being killed."""

    kills: int = 0
    lost: int = 0
    twice: list[str] = field(default_factory=list)
    whole: bool = False


def kill_and_resume(folder: Path, effect: Effect, seed: int, kills: int, durability: Durability = "normal") -> Outcome:
    """Kill -9 the process that drives an episode ``kills`` times at random moments, resume it each time, and look at what is there."""
    url, sent, out, draw = f"sqlite:///{folder / 'kill.db'}", folder / "sent", Outcome(), random.Random(seed)
    with open_store(url):
        pass
    for attempt in range(1000):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(read)
                drive(url, sent, effect, write, durability)
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        if attempt < kills:
            time.sleep(draw.uniform(0.005, 0.08))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        with os.fdopen(read) as stream:
            acknowledged = [int(line) for line in stream.read().split()]
        out.kills += os.WIFSIGNALED(status)
        with open_store(url) as store:
            events = store.episodes.trail().read("e")
        out.lost += max(0, (acknowledged[-1] if acknowledged else -1) - (events[-1].seq if events else -1))
        if events and events[-1].kind == "ended":
            break
    with open_store(url) as store:
        keys = [key for key, _ in store.episodes.trail().effects("ledger/")]
        texts = sorted(text for _, text in store.episodes.trail().effects("ledger/"))
        if effect == "once":
            lines = [line.partition(" ") for line in sent.read_text().splitlines()]
            keys, texts = [key for key, _, _ in lines], sorted(text for _, _, text in lines)
        events = store.episodes.trail().read("e")
    out.twice = sorted({key for key in keys if keys.count(key) > 1} | {text for text in texts if texts.count(text) > 1})
    wanted = sorted(f"entry {at}" for at in range(STEPS) if at % 5 != 4)
    ended = bool(events) and events[-1].kind == "ended" and events[-1].payload["output"] == f"{STEPS} steps"
    # What a person said was not sent is not sent later: a call with effect "once" is never made twice.
    out.whole = ended and (texts == wanted if effect != "once" else set(texts) <= set(wanted))
    return out
