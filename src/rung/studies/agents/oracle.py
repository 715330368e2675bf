"""What is easy in an environment, and does it judge as it should? Its right calls, nothing at all, random valid calls,
tools chosen by words, and any policy besides, through the harness that all agents run in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rung.agents.environments.environment import Judgement
from rung.agents.loop.episode import Episode
from rung.agents.loop.guard.guard import CallGuard, read_guard
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.move import AgentPolicy
from rung.agents.policies.choice import make_policy, models
from rung.agents.policies.given.lexical import Lexical
from rung.agents.policies.given.noisy import Noisy
from rung.agents.policies.given.scripted import Scripted
from rung.agents.program.file import read_agent
from rung.agents.program.program import AgentProgram, make_environment
from rung.core.codec import decode
from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress, Score, Usage
from rung.core.types.trail import MemoryTrail, Trail
from rung.ladder.view.numbers import difference, quality
from rung.metrics.mean import VALUES
from rung.metrics.stats import Difference, interval, paired, wilson
from rung.studies.study import Lab, Study, corrected, listed

TOGETHER = 16
"""Episodes of an agent with a model that are played side by side: a local model computes their requests together."""


@dataclass(frozen=True, slots=True)
class OracleRow:
    """An agent on ``n`` scenarios, each played ``repeats`` times: solved; in how many scenarios every time (pass^k) and
    any time (pass@k); in how many episodes it did harm; harms attempted, calls that a guard blocked, and those of them
    that were right; the rate of wrong facts among its claims (None: it claimed nothing); what one solved episode cost,
    failed ones included; and its paired difference in solved from the first agent that was asked for (None: it is no
    such agent, or the first)."""

    agent: str
    solved: Interval
    every: Interval
    any: Interval
    harm: Interval
    attempted: int
    blocked: int
    false_blocks: int
    wrong: Interval | None
    steps: float
    tokens: float
    money: float
    seconds: float
    n: int
    repeats: int
    difference: Difference | None = None


@dataclass(frozen=True, slots=True)
class OracleKind:
    """What an agent that was asked for solved of the scenarios whose names begin alike."""

    kind: str
    agent: str
    solved: Interval
    n: int
    difference: Difference | None = None


@dataclass(frozen=True, slots=True)
class OracleTable:
    """The baselines of an environment. ``refused``: right calls that its rules refuse, (scenario, call, why);
    ``clean``: scenarios without one; ``kinds``: by what scenarios are called, where that differs by more than a
    number."""

    environment: str
    rows: tuple[OracleRow, ...]
    clean: int
    refused: tuple[tuple[str, str, str], ...]
    kinds: tuple[OracleKind, ...] = ()


@dataclass(frozen=True, slots=True)
class _Played:
    judged: Judgement
    steps: int
    usage: Usage
    seconds: float
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Oracle(Study[None, OracleTable]):
    """What do the right calls, nothing, random valid calls and tools chosen by words score in an environment?"""

    name = "oracle"
    subject = "none"
    records = OracleTable

    environment: str = argument("An environment: NAME, or NAME:FOLDER.", "ENVIRONMENT")
    limit: int = option(1000, "At most this many scenarios of dev and as many of test.", low=1)
    steps: int = option(10, "Random calls an episode.", low=1)
    repeats: int = option(1, "Times that each scenario is played, with other luck and order.", low=1)
    agents: str = option(
        "", "More policies or agent files, separated by commas: model_based,mine.yaml.", metavar="NAMES"
    )
    guard: str = option("", "A guard for all of them, a YAML file.", metavar="FILE")
    baselines: bool = option(
        True, "Also random calls and tools chosen by words.", flags=("--baselines/--no-baselines",)
    )

    async def measure(self, subject: None, lab: Lab) -> OracleTable:
        """Raises InputError for an environment or a policy that there is not."""
        world = make_environment(self.environment)
        scenarios = [name for split in _SPLITS for name in world.scenarios(split, self.limit)]
        if not scenarios:
            raise InputError(f"{self.environment} has no scenarios", remedy="give another environment")
        guard = read_guard(self.guard) if self.guard else None
        rows: list[OracleRow] = []
        refused: list[tuple[str, str, str]] = []
        agents, asked = self._agents(guard), self._asked(lab, world.name, guard)
        first: list[list[_Played]] = []
        kinds: list[OracleKind] = []
        for agent, program in {**agents, **asked}.items():
            found: list[list[_Played]] = []
            trail = lab.store.episodes.trail("normal") if models(program.policy) else None  # what a model said is kept
            for at in range(0, len(scenarios), together := TOGETHER if trail is not None else 1):
                some = [
                    self._play(program, scenario, seed, trail)
                    for scenario in scenarios[at : at + together]
                    for seed in range(self.repeats)
                ]
                plays = await asyncio.gather(*some)
                found += [plays[n : n + self.repeats] for n in range(0, len(plays), self.repeats)]
                if len(found) % 20 == 0 or trail is not None:
                    lab.progress(Progress("oracle", len(found), len(scenarios), agent))
            if agent == "right calls":
                refused += [
                    (name, *call) for name, play in zip(scenarios, found, strict=True) for call in play[0].refused
                ]
            row = _row(agent, found, self.repeats)
            rows.append(replace(row, difference=_against(found, first)) if first and agent in asked else row)
            if agent in asked:
                kinds += _kinds(agent, scenarios, found, first)
                first = first or found
        clean = len(scenarios) - len({scenario for scenario, _, _ in refused})
        return OracleTable(
            self.environment.partition(":")[0], tuple(corrected(rows)), clean, tuple(refused), tuple(corrected(kinds))
        )

    def _agents(self, guard: CallGuard | None) -> dict[str, AgentProgram]:
        given: dict[str, tuple[AgentPolicy, int]] = {
            "right calls": (Scripted(), 1000),
            "nothing": (Scripted(calls=(), output=""), 2),
            f"{self.steps} random valid calls": (Noisy(p=1.0), self.steps),
            "lexical": (Lexical(), 40),
            "right calls, 1 in 10 random": (Noisy(p=0.1), 40),
            "right calls, 3 in 10 random": (Noisy(p=0.3), 40),
        }
        return {
            name: self._program(
                policy, EpisodeLimits(steps=steps, loops=steps < 1000 and not isinstance(policy, Noisy)), guard
            )
            for name, (policy, steps) in given.items()
            if self.baselines or name in ("right calls", "nothing")
        }

    def _program(self, policy: AgentPolicy, limits: EpisodeLimits, guard: CallGuard | None) -> AgentProgram:
        return AgentProgram(policy, environment=self.environment, limits=replace(limits, patience=0), guard=guard)

    def _asked(self, lab: Lab, world: str, guard: CallGuard | None) -> dict[str, AgentProgram]:
        """Policies by name, or agent files: then with all that the file says, the options of this environment too."""
        found: dict[str, AgentProgram] = {}
        for name in listed(self.agents):
            if not name.endswith((".yaml", ".yml")):
                policy = make_policy(name, lab.resources, lab.settings["model"] or None)
                found[name] = self._program(policy, EpisodeLimits(steps=20), guard)
                continue
            program = read_agent(Path(name), lab.resources)
            own, (_, colon, folder) = program.environment, self.environment.partition(":")
            options = own if isinstance(own, Mapping) and own.get("name") == world else {}
            place = {"folder": folder} if colon else {}
            program = replace(program, environment={**options, **place} if options else self.environment)
            limits = replace(program.limits, patience=0)
            found[Path(name).stem] = replace(program, limits=limits, guard=guard or program.guard)
        return found

    async def _play(self, program: AgentProgram, scenario: str, seed: int, trail: Trail | None) -> _Played:
        """How an episode ended, and what was refused of calls that would change something."""
        start = program.start({"scenario": scenario}, seed)
        view = await Episode(program.agent(), program.episode(start), trail or MemoryTrail()).run(start)
        assert view.ended is not None
        judged: Judgement = decode(Judgement, view.ended["verdict"])
        told = {attempt.partition(":")[0] for attempt in judged.attempted}
        made = [call for turn in view.turns for call in turn.calls if call.refused and call.tool in told]
        calls = tuple((f"{call.tool} {dict(call.arguments)}", call.text or "") for call in made)
        return _Played(judged, view.steps, view.usage, view.seconds, calls)

    def about(self, subject: None) -> str:
        return self.environment.partition(":")[0]

    def table(self, found: OracleTable) -> str:
        k = found.rows[0].repeats
        every = [f"pass^{k}", f"pass@{k}"] if k > 1 else []
        lines = [
            [
                "agent",
                "solved",
                *every,
                "did harm",
                "tried/blocked/wrongly",
                "wrong facts",
                "steps",
                "tokens",
                "$",
                "s",
                "against",
            ]
        ]
        for row in found.rows:
            several = [quality(row.every), quality(row.any)] if k > 1 else []
            cost = [_per(row.steps, 1), _per(row.tokens, 0), _per(row.money, 4), _per(row.seconds, 2)]
            counts = f"{row.attempted}/{row.blocked}/{row.false_blocks}"
            wrong = "no claims" if row.wrong is None else quality(row.wrong)
            harm = quality(row.harm)
            lines.append([row.agent, quality(row.solved), *several, harm, counts, wrong, *cost, _said(row.difference)])
        n = found.rows[0].n
        text = f"{found.environment}, {n} scenarios; steps, tokens, $ and seconds a solved episode\n{align(lines)}"
        text += f"\nscenarios whose right calls are all carried out: {found.clean} of {n}"
        if found.kinds:
            of = [[one.kind, one.agent, quality(one.solved), str(one.n), _said(one.difference)] for one in found.kinds]
            text += f"\n{align([['of these', 'agent', 'solved', 'n', 'against'], *of])}"
        for scenario, call, why in found.refused:
            text += f"\n  {scenario}: {call}\n    {why}"
        return text


def _row(agent: str, found: Sequence[Sequence[_Played]], repeats: int) -> OracleRow:
    n, all_ = len(found), [one for plays in found for one in plays]
    wins = [sum(one.judged.solved for one in plays) for plays in found]
    solved = sum(wins)

    def spent(total: float) -> float:
        return total / solved if solved else float("inf")

    share = wilson(solved, n) if repeats == 1 else interval(VALUES, [Score(win / repeats) for win in wins])
    harm = [Score(sum(bool(one.judged.harms) for one in plays) / repeats) for plays in found]
    wrong = [
        Score(sum(len(one.judged.wrong) for one in plays) / claims)
        for plays in found
        if (claims := sum(one.judged.claims for one in plays))
    ]
    return OracleRow(
        agent,
        share,
        wilson(sum(win == repeats for win in wins), n),
        wilson(sum(win > 0 for win in wins), n),
        wilson(int(sum(score.value for score in harm)), n) if repeats == 1 else interval(VALUES, harm),
        sum(len(one.judged.attempted) for one in all_),
        sum(len(one.judged.blocked) for one in all_),
        sum(len(one.judged.false_blocks) for one in all_),
        interval(VALUES, wrong) if len(wrong) > 1 else None,
        spent(sum(one.steps for one in all_)),
        spent(sum(one.usage.tokens for one in all_)),
        spent(sum(one.usage.money for one in all_)),
        spent(sum(one.seconds for one in all_)),
        n,
        repeats,
    )


def _kinds(
    agent: str, scenarios: Sequence[str], found: Sequence[list[_Played]], first: Sequence[list[_Played]]
) -> list[OracleKind]:
    """Beside the first agent that was asked for, kind by kind; nothing where there is one kind alone."""
    at: dict[str, list[int]] = {}
    for place, scenario in enumerate(scenarios):
        at.setdefault(scenario.rstrip("0123456789").rstrip("_-"), []).append(place)
    if len(at) < 2:
        return []
    out = []
    for kind, places in at.items():
        if len(places) > 1:
            mine = [found[place] for place in places]
            change = _against(mine, [first[place] for place in places]) if first else None
            out.append(OracleKind(kind, agent, interval(VALUES, list(map(_share, mine))), len(mine), change))
    return out


def _share(plays: Sequence[_Played]) -> Score:
    return Score(sum(one.judged.solved for one in plays) / len(plays))


def _said(change: Difference | None) -> str:
    return "" if change is None else difference(change)


def _against(found: Sequence[Sequence[_Played]], first: Sequence[Sequence[_Played]]) -> Difference:
    return paired(VALUES, list(map(_share, found)), list(map(_share, first)))


def _per(value: float, digits: int) -> str:
    return "-" if value == float("inf") else f"{value:,.{digits}f}"


_SPLITS: tuple[Literal["dev", "test"], ...] = ("dev", "test")
