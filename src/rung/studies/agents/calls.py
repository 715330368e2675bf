"""How well a model calls tools: exact calls, and the choice among several, in each way of doing it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from rung.agents.calls.apibank import read_apis, read_calls
from rung.agents.calls.bfcl import CATEGORIES, CallItem, complaint, has, read_items, tool_of
from rung.agents.calls.call import FINISH, Stages, Staging, can_stage
from rung.agents.calls.chooser import best, combine, question
from rung.agents.calls.relevance import WEIGHTS, counts, learn, relevance
from rung.agents.calls.shortlist import lexical
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


Part = Literal["call", "choice", "choice and call", "none is right", "one is right", "one of several", "search"]


@dataclass(frozen=True, slots=True)
class CallRow:
    """One way of calling or choosing: the share of ``n`` items it got right, and its paired difference from the first
    row of its ``part`` (None: it is that row, or chance)."""

    part: Part
    way: str
    right: Interval
    n: int
    difference: Difference | None = None


@dataclass(frozen=True, slots=True)
class CallTable:
    """The rows, a few of the items that the last way of each part got wrong: (id, why), and the weights of
    ``relevance`` as they were learnt here."""

    model: str
    rows: tuple[CallRow, ...]
    wrong: tuple[tuple[str, str], ...]
    weights: tuple[float, ...] = ()


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

    async def measure(self, subject: None, lab: Lab) -> CallTable:
        """Raises InputError for a folder that holds no such data, or a model that cannot score or decode JSON."""
        kind, _, place = self.source.partition(":")
        if kind not in ("bfcl", "api-bank") or not place:
            raise InputError(f"got calls of {self.source!r}", remedy="write bfcl:FOLDER or api-bank:FOLDER")
        folder = Path(place)
        simple, multiple = self._bfcl(folder) if kind == "bfcl" else self._api_bank(folder)
        if len(simple) < 2 or len(multiple) < 2:
            raise InputError(f"{folder}: fewer than 2 items are left", remedy="give a smaller --skip")
        model = RememberedModel(lab.resources.model(), lab.store)
        if not can_stage(model):
            raise InputError(
                f"{model.name} cannot score labels, or not decode JSON",
                remedy="name a local one: -m openvino:smollm2-135m",
            )
        parts = listed(self.parts)
        if unknown := [part for part in parts if part not in PARTS]:
            raise InputError(f"there is no part {unknown[0]!r}", remedy=nearest(unknown[0], PARTS))
        rows, wrong = await self._exact(model, simple, lab.progress) if "call" in parts else ([], [])
        rows += await self._choice(model, multiple, lab.progress) if "choice" in parts else []
        if "whole" in parts:
            whole = await self._asked(model, multiple, Staging(), lab.progress, "choice and call")
            rows.append(_row("choice and call", "staged", [not why for why in whole]))
            wrong += [(item.id, why) for item, why in zip(multiple, whole, strict=True) if why][:5]
        weights: tuple[float, ...] = ()
        if {"none", "words"} & set(parts) and kind == "bfcl" and has(folder, "irrelevance"):
            asked = model if "none" in parts else None
            more, weights = await self._whether(asked, folder, {"one": simple, "several": multiple}, lab.progress)
            rows += more
        rows += _searched(folder) if "words" in parts and kind == "api-bank" else []
        return CallTable(model.name, tuple(corrected(rows)), tuple(wrong), weights)

    def _bfcl(self, folder: Path) -> tuple[list[CallItem], list[CallItem]]:
        """Items with one tool, and with several."""
        simple, multiple = (
            read_items(folder, part, self.skip + self.limit)[self.skip :] for part in ("simple_python", "multiple")
        )
        return simple, multiple

    def _api_bank(self, folder: Path) -> tuple[list[CallItem], list[CallItem]]:
        """Calls with their one tool given, and those of dialogues with several; spread over the dialogues."""
        items = read_calls(folder)
        several = [item for item in items if len(item.tools) > 1]

        def some(given: list[CallItem]) -> list[CallItem]:
            step = max(1, len(given) // (self.skip + self.limit))
            return given[::step][self.skip : self.skip + self.limit]

        alone = [
            replace(item, tools=tuple(tool for tool in item.tools if tool.name == item.name)) for item in some(items)
        ]
        return alone, some(several)

    async def _exact(
        self, model: Model, items: Sequence[CallItem], progress: Callable[[Progress], None]
    ) -> tuple[list[CallRow], list[tuple[str, str]]]:
        ways: dict[str, list[str]] = {}
        if self.native:
            ways["the model's own way"] = await _each(items, lambda item: self._own(model, item), progress, "own way")
        ways["staged, all arguments"] = await self._asked(model, items, Staging(), progress, "staged, all arguments")
        required = Staging(arguments="required")
        ways["staged, required only"] = await self._asked(model, items, required, progress, "staged, required only")
        right = {way: [not why for why in found] for way, found in ways.items()}
        first = next(iter(right.values()))
        rows = [_row("call", way, found, None if found is first else first) for way, found in right.items()]
        missed = ways["staged, all arguments"]
        return rows, [(item.id, why) for item, why in zip(items, missed, strict=True) if why][:5]

    async def _own(self, model: Model, item: CallItem) -> str:
        said = (Message("system", _INSTRUCTION), Message("user", item.request))
        request = Request(said, Sampling(max_tokens=self.tokens), tools=item.tools)
        reply = (await model.generate([request]))[0]
        call = reply.tool_calls[0] if reply.tool_calls else None
        if call is None:
            return "cut" if reply.finish == "length" else "an answer in place of a call"
        return complaint(item, Call(call.name, call.arguments))

    async def _asked(
        self, model: Model, items: Sequence[CallItem], staging: Staging, progress: Callable[[Progress], None], note: str
    ) -> list[str]:
        async def one(item: CallItem) -> str:
            sampling = Sampling(max_tokens=self.tokens)

            async def say(said: tuple[Message, ...], form: ResponseFormat) -> Reply:
                return (await model.generate([Request(said, sampling, form)]))[0]

            stages = Stages(say, model.score, staging)
            name = await stages.choose(item.request, item.tools)
            chosen = await stages.fill(item.request, next(tool for tool in item.tools if tool.name == name))
            return chosen.broken or complaint(item, chosen.call)

        return await _each(items, one, progress, note)

    async def _choice(
        self, model: Model, items: Sequence[CallItem], progress: Callable[[Progress], None]
    ) -> list[CallRow]:
        words = [lexical(item.request, item.tools) for item in items]

        async def one(item: CallItem) -> tuple[tuple[float, ...], tuple[float, ...]]:
            names = tuple(tool.name for tool in item.tools)
            asked = [ScoreRequest(question(text, item.tools), names) for text in (item.request, "")]
            given, empty = await model.score(asked)
            return given.logprobs, empty.logprobs

        scores = await _each(items, one, progress, "choice")
        found = {
            way: [
                item.tools[best(combine(way, word, given, empty))].name == item.name
                for item, word, (given, empty) in zip(items, words, scores, strict=True)
            ]
            for way in ("lexical", "score", "calibrated", "fused")
        }
        chance = sum(1 / len(item.tools) for item in items) / len(items)
        rows = [CallRow("choice", "chance (expected)", Interval(chance, chance, chance), len(items))]
        first = found["lexical"]
        return rows + [_row("choice", way, right, None if right is first else first) for way, right in found.items()]

    async def _whether(
        self,
        model: Model | None,
        folder: Path,
        right: Mapping[str, Sequence[CallItem]],
        progress: Callable[[Progress], None],
    ) -> tuple[list[CallRow], tuple[float, ...]]:
        """Does it call where no function is right, and where one is (``right``)? Weights are learnt on every second
        item of the whole leaderboard, and measured on the others."""
        everything = {part: read_items(folder, part) for part in CATEGORIES}
        learnt = [
            (counts(item.request, item.tools), bool(item.name)) for items in everything.values() for item in items[::2]
        ]
        weights = learn([one for one, _ in learnt], [due for _, due in learnt])
        unseen = {item.id for items in everything.values() for item in items[1::2]}
        none = read_items(folder, "irrelevance", self.skip + self.limit)[self.skip :]

        async def calls(item: CallItem) -> bool:
            assert model is not None
            stages = Stages(_silent, model.score, Staging())
            return (
                await stages.choose(item.request, item.tools, finish=first_finish(item.request, item.tools)) != FINISH
            )

        rows: list[CallRow] = []
        parts: list[tuple[Part, Sequence[CallItem], bool]] = [
            ("none is right", none, False), ("one is right", right["one"], True), ("one of several", right["several"], True),
        ]  # fmt: skip
        for part, given, due in parts:
            items = [item for item in given if item.id in unseen]
            if len(items) < 2:
                continue
            shared = [(max(lexical(item.request, item.tools)) > 0) == due for item in items]
            rows.append(_row(part, "calls where a word is shared", shared))
            if model is not None:
                staged = [one == due for one in await _each(items, calls, progress, part)]
                rows.append(_row(part, "staged, the model says", staged, shared))
            for way, by in (("as it is given", WEIGHTS), ("learnt here", weights)):
                said = [(relevance(item.request, item.tools, by) >= 0) == due for item in items]
                rows.append(_row(part, f"staged, words say ({way})", said, shared))
        return rows, weights

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
        head = f"{found.model}; greedy; Wilson intervals, paired differences with Tango's, p corrected by Holm"
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
