"""How well a model calls tools: exact calls, and the choice among several, in each way of doing it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from rung.agents.calls.apibank import read_apis, read_calls
from rung.agents.calls.bfcl import CATEGORIES, CallItem, complaint, has, read_items, tool_of
from rung.agents.calls.call import ARGUMENTS, FINISH, Stages, Staging, can_stage
from rung.agents.calls.chooser import CHOOSERS, best, combine, question
from rung.agents.calls.relevance import WEIGHTS, counts, learn, relevance
from rung.agents.calls.shortlist import lexical
from rung.agents.environments.benchmarks.leaderboard import splits
from rung.agents.loop.move import Call
from rung.agents.policies.staged import first_finish
from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.parts.problem import nearest
from rung.core.protocols import Model
from rung.core.text.columns import align
from rung.core.types import Interval, Message, Progress, Reply, Request, ResponseFormat, Sampling, Score, ScoreRequest
from rung.ladder.view.numbers import difference, quality
from rung.metrics.mean import VALUES
from rung.metrics.stats import Difference, interval, paired
from rung.studies.remembered import RememberedModel
from rung.studies.study import Lab, Study, corrected, listed

T = TypeVar("T")

PARTS = ("call", "choice", "whole", "none", "words")
"""Exact calls where one tool is given, the choice among several, both, and whether a tool is right at all, the last
without a model."""
_TOGETHER = 16
_INSTRUCTION = "Do what is asked. Use the tools."


_Items = Mapping[str, Sequence[CallItem]]
"""Items by what is asked of them: ``one`` tool is given, ``several``, ``none`` of which is right."""
Part = Literal["call", "choice", "choice and call", "none is right", "one is right", "one of several", "search"]
_WHETHER: Mapping[Part, str] = {
    "none is right": "none, odd",
    "one is right": "one, odd",
    "one of several": "several, odd",
}
"""The items that no weights of ``relevance`` are learnt on: every second one of the file."""


@dataclass(frozen=True, slots=True)
class CallRow:
    """One way of calling or choosing: the share of ``n`` items it got right, and its paired difference from the first
    row of its ``part``, of the other model from the first one in the same way (None: it is that row, or chance)."""

    part: Part
    way: str
    right: Interval
    n: int
    difference: Difference | None = None


@dataclass(frozen=True, slots=True)
class CallTable:
    """The rows, a few of the items that the last way of each part got wrong: (id, why), the weights of ``relevance`` as
    they were learnt here, and the other model's name."""

    model: str
    rows: tuple[CallRow, ...]
    wrong: tuple[tuple[str, str], ...]
    weights: tuple[float, ...] = ()
    against: str = ""


@dataclass(frozen=True, slots=True)
class _Way:
    """Which items of a part a way got right; ``words``: no model was asked; ``why`` the others are wrong, by id."""

    part: Part
    name: str
    right: list[bool]
    words: bool = False
    why: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Calls(Study[None, CallTable]):
    """How many calls of the Berkeley leaderboard does a model make exactly, and which tool does it choose?"""

    name = "calls"
    subject = "none"
    records = CallTable

    source: str = argument("bfcl:FOLDER, the leaderboard's data, or api-bank:FOLDER.", "SOURCE")
    limit: int = option(100, "At most this many items of each part, the first ones.", low=2)
    skip: int = option(0, "Leave out so many items at the beginning of each part.", low=0)
    tokens: int = option(160, "At most so many tokens a reply.", low=8)
    native: bool = option(True, "Also let the model call in its own way.", flags=("--native/--no-native",))
    parts: str = option("call,choice,whole,none,words", "What is measured, by commas.", metavar="NAMES")
    against: str = option("", "Another model, compared with the first in pairs.", metavar="MODEL")
    unseen: bool = option(
        False, "bfcl: leave out what agents are trained on in the environment bfcl.", flags=("--unseen",)
    )

    async def measure(self, subject: None, lab: Lab) -> CallTable:
        """Raises InputError for a folder that holds no such data, or a model that cannot score or decode JSON."""
        kind, _, place = self.source.partition(":")
        if kind not in ("bfcl", "api-bank") or not place:
            raise InputError(f"got calls of {self.source!r}", remedy="write bfcl:FOLDER or api-bank:FOLDER")
        folder, parts = Path(place), listed(self.parts)
        if unknown := [part for part in parts if part not in PARTS]:
            raise InputError(f"there is no part {unknown[0]!r}", remedy=nearest(unknown[0], PARTS))
        items = self._bfcl(folder) if kind == "bfcl" else self._api_bank(folder)
        if min(len(items[name]) for name in ("one", "several")) < 2:
            raise InputError(f"{folder}: fewer than 2 items are left", remedy="give a smaller --skip")
        names = [None, self.against] if self.against else [None]
        models = [RememberedModel(lab.resources.model(name), lab.store) for name in names]
        for model in models:
            if not can_stage(model):
                raise InputError(
                    f"{model.name} cannot score labels, or not decode JSON",
                    remedy="name a local one: -m openvino:smollm2-135m",
                )
        found = [await self._ways(model, items, parts, lab.progress) for model in models]
        rows = _chance(items["several"]) if "choice" in parts else []
        rows += _compared([way for way in found[0] if way.part not in _WHETHER])
        weights: tuple[float, ...] = ()
        if {"none", "words"} & set(parts) and "none" in items:
            more, weights = _by_words(folder, items)
            rows += _compared([*more, *(way for way in found[0] if way.part in _WHETHER and len(way.right) > 1)])
        for way in found[1] if self.against else []:
            if not way.words:
                same = next(one for one in found[0] if (one.part, one.name) == (way.part, way.name))
                rows.append(_row(way.part, f"{way.name}: the other model", way.right, same.right))
        rows += _searched(folder) if "words" in parts and kind == "api-bank" else []
        wrong = [one for way in found[-1] for one in way.why[:5]]
        other = models[1].name if self.against else ""
        return CallTable(models[0].name, tuple(corrected(rows)), tuple(wrong), weights, other)

    async def _ways(
        self, model: Model, items: _Items, parts: Sequence[str], progress: Callable[[Progress], None]
    ) -> list[_Way]:
        """What a model gets right, in each way of each part."""
        found = await self._exact(model, items["one"], progress) if "call" in parts else []
        found += await self._choice(model, items["several"], progress) if "choice" in parts else []
        if "whole" in parts:
            found.append(await self._asked(model, items["several"], Staging(), progress, "choice and call", "staged"))
        return found + (await self._whether(model, items, progress) if "none" in parts and "none" in items else [])

    def _bfcl(self, folder: Path) -> _Items:
        """Items with one tool, with several, and those of which no tool is right."""
        given = {part: read_items(folder, part) for part in CATEGORIES if part in CATEGORIES[:2] or has(folder, part)}
        if self.unseen:
            found = splits(given)
            kept = {item.id for item in (*found["dev"], *found["test"])}
            given = {part: [item for item in items if item.id in kept] for part, items in given.items()}
        odd = {item.id for part in CATEGORIES if has(folder, part) for item in read_items(folder, part)[1::2]}
        found = {
            name: items[self.skip : self.skip + self.limit]
            for name, items in zip(("one", "several", "none"), given.values(), strict=False)
        }
        return found | {f"{name}, odd": [item for item in items if item.id in odd] for name, items in found.items()}

    def _api_bank(self, folder: Path) -> _Items:
        """Calls with their one tool given, and those of dialogues with several; spread over the dialogues."""
        items = read_calls(folder)

        def some(given: list[CallItem]) -> list[CallItem]:
            step = max(1, len(given) // (self.skip + self.limit))
            return given[::step][self.skip : self.skip + self.limit]

        alone = [
            replace(item, tools=tuple(tool for tool in item.tools if tool.name == item.name)) for item in some(items)
        ]
        return {"one": alone, "several": some([item for item in items if len(item.tools) > 1])}

    async def _exact(self, model: Model, items: Sequence[CallItem], progress: Callable[[Progress], None]) -> list[_Way]:
        ways = []
        if self.native:
            why = await _each(items, lambda item: self._own(model, item), progress, "own way")
            ways.append(_way("call", "the model's own way", items, why))
        for which in ARGUMENTS:
            name = "staged, all arguments" if which == "all" else "staged, required only"
            ways.append(await self._asked(model, items, Staging(arguments=which), progress, "call", name))
        return [replace(way, why=way.why if way.name == "staged, all arguments" else ()) for way in ways]

    async def _own(self, model: Model, item: CallItem) -> str:
        said = (Message("system", _INSTRUCTION), Message("user", item.request))
        request = Request(said, Sampling(max_tokens=self.tokens), tools=item.tools)
        reply = (await model.generate([request]))[0]
        call = reply.tool_calls[0] if reply.tool_calls else None
        if call is None:
            return "cut" if reply.finish == "length" else "an answer in place of a call"
        return complaint(item, Call(call.name, call.arguments))

    async def _asked(
        self,
        model: Model,
        items: Sequence[CallItem],
        staging: Staging,
        progress: Callable[[Progress], None],
        part: Part,
        name: str,
    ) -> _Way:
        async def one(item: CallItem) -> str:
            sampling = Sampling(max_tokens=self.tokens)

            async def say(said: tuple[Message, ...], form: ResponseFormat) -> Reply:
                return (await model.generate([Request(said, sampling, form)]))[0]

            stages = Stages(say, model.score, staging)
            name = await stages.choose(item.request, item.tools)
            chosen = await stages.fill(item.request, next(tool for tool in item.tools if tool.name == name))
            return chosen.broken or complaint(item, chosen.call)

        return _way(part, name, items, await _each(items, one, progress, f"{part}: {name}"))

    async def _choice(
        self, model: Model, items: Sequence[CallItem], progress: Callable[[Progress], None]
    ) -> list[_Way]:
        words = [lexical(item.request, item.tools) for item in items]

        async def one(item: CallItem) -> tuple[tuple[float, ...], tuple[float, ...]]:
            names = tuple(tool.name for tool in item.tools)
            asked = [ScoreRequest(question(text, item.tools), names) for text in (item.request, "")]
            given, empty = await model.score(asked)
            return given.logprobs, empty.logprobs

        scores = await _each(items, one, progress, "choice")
        return [
            _Way(
                "choice",
                way,
                [
                    item.tools[best(combine(way, word, given, empty))].name == item.name
                    for item, word, (given, empty) in zip(items, words, scores, strict=True)
                ],
                words=way == "lexical",
            )
            for way in CHOOSERS
        ]

    async def _whether(self, model: Model, items: _Items, progress: Callable[[Progress], None]) -> list[_Way]:
        """Does the model call where no function is right, and where one is?"""

        async def calls(item: CallItem) -> bool:
            stages = Stages(_silent, model.score, Staging())
            return (
                await stages.choose(item.request, item.tools, finish=first_finish(item.request, item.tools)) != FINISH
            )

        return [
            _Way(part, "staged, the model says", [one == (part != "none is right") for one in said])
            for part, name in _WHETHER.items()
            if (said := await _each(items[name], calls, progress, part))
        ]

    def about(self, subject: None) -> str:
        return self.source.partition(":")[0]

    def table(self, found: CallTable) -> str:
        lines = [["part", "way", "right", "n", "against the first"]]
        for row in found.rows:
            chance = row.way.startswith("chance")
            right = f"{row.right.value:.3f}" if chance else quality(row.right)
            lines.append(
                [row.part, row.way, right, str(row.n), "" if row.difference is None else difference(row.difference)]
            )
        missed = [f"  {id}: {why}"[:118] for id, why in found.wrong]
        asked = f"{found.model}, the other model is {found.against}" if found.against else found.model
        head = f"{asked}; greedy; Wilson intervals, paired differences with Tango's, p corrected by Holm"
        learnt = (
            [f"weights learnt here: {', '.join(f'{weight:.2f}' for weight in found.weights)}"] if found.weights else []
        )
        return "\n".join([head, align(lines), *(["for instance wrong:", *missed] if missed else []), *learnt])


def _searched(folder: Path) -> list[CallRow]:
    """How often words find the right one of all tools by the end of the dialogue: first, and among the first five."""
    tools = [tool_of(function) for function in read_apis(folder).values()]
    places = []
    for item in read_calls(folder):
        said = "\n".join(item.request.splitlines()[-4:])
        scores = lexical(said, tools)
        ranked = sorted(range(len(tools)), key=lambda at: -scores[at])
        places.append(next(at for at, which in enumerate(ranked) if tools[which].name == item.name))
    ways = ((1, "words: the first"), (5, "words: among five"), (16, "words: among sixteen"))
    return [_row("search", f"{way} of {len(tools)}", [place < most for place in places]) for most, way in ways]


def _chance(items: Sequence[CallItem]) -> list[CallRow]:
    chance = sum(1 / len(item.tools) for item in items) / len(items)
    return [CallRow("choice", "chance (expected)", Interval(chance, chance, chance), len(items))]


def _by_words(folder: Path, items: _Items) -> tuple[list[_Way], tuple[float, ...]]:
    """Do words call where no function is right, and where one is? Weights are learnt on every second item of the whole
    leaderboard, and measured on the others."""
    learnt = [
        (counts(item.request, item.tools), bool(item.name))
        for part in CATEGORIES
        for item in read_items(folder, part)[::2]
    ]
    weights = learn([one for one, _ in learnt], [due for _, due in learnt])
    ways: list[_Way] = []
    for part, name in _WHETHER.items():
        given, due = items[name], part != "none is right"
        shared = [(max(lexical(item.request, item.tools)) > 0) == due for item in given]
        ways.append(_Way(part, "calls where a word is shared", shared, words=True))
        for way, by in (("as it is given", WEIGHTS), ("learnt here", weights)):
            said = [(relevance(item.request, item.tools, by) >= 0) == due for item in given]
            ways.append(_Way(part, f"staged, words say ({way})", said, words=True))
    return [way for way in ways if len(way.right) > 1], weights


def _way(part: Part, name: str, items: Sequence[CallItem], why: Sequence[str]) -> _Way:
    wrong = tuple((item.id, one) for item, one in zip(items, why, strict=True) if one)
    return _Way(part, name, [not one for one in why], why=wrong)


def _compared(ways: Sequence[_Way]) -> list[CallRow]:
    """Each way beside the first of its part."""
    parts: dict[Part, list[_Way]] = {}
    for way in ways:
        parts.setdefault(way.part, []).append(way)
    return [
        _row(way.part, way.name, way.right, given[0].right if at else None)
        for given in parts.values()
        for at, way in enumerate(given)
    ]


def _row(part: Part, way: str, right: list[bool], first: list[bool] | None = None) -> CallRow:
    scores = [Score(float(one)) for one in right]
    change = None if first is None else paired(VALUES, scores, [Score(float(one)) for one in first])
    return CallRow(part, way, interval(VALUES, scores), len(right), change)


async def _silent(said: tuple[Message, ...], form: ResponseFormat) -> Reply:
    raise AssertionError("nothing is said where there is only a choice")


async def _each(
    items: Sequence[CallItem], ask: Callable[[CallItem], Awaitable[T]], progress: Callable[[Progress], None], note: str
) -> list[T]:
    out: list[T] = []
    for at in range(0, len(items), _TOGETHER):
        out += await asyncio.gather(*(ask(item) for item in items[at : at + _TOGETHER]))
        progress(Progress("calls", len(out), len(items), note))
    return out
