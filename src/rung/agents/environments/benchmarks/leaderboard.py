"""The Berkeley Function Calling Leaderboard as an environment: a request, its functions, and one call to make, or none.

Many requests are in two of the leaderboard's parts, and one function is right for several. So that nothing of a test is
trained on, items that share a request or a right function are in one split.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from rung.agents.calls.bfcl import CATEGORIES, CallItem, complaint, has, read_items
from rung.agents.environments.environment import Judgement, Observation
from rung.agents.loop.move import Call
from rung.core.errors import InputError
from rung.core.types import ToolSpec

SPLITS = ("train", "dev", "train", "test")


def splits(items: Mapping[str, Sequence[CallItem]]) -> dict[str, list[CallItem]]:
    """The items of each part by split, the parts in turn: half are for training. Left out are those that would have to
    be in two splits, and training items which offer a function that is right elsewhere."""
    places: dict[tuple[str, str], str] = {}
    found: dict[str, list[tuple[float, CallItem]]] = {"train": [], "dev": [], "test": []}
    for given in items.values():
        fresh = 0
        for at, item in enumerate(given):
            keys = [("request", " ".join(item.request.casefold().split())), ("function", item.name or item.id)]
            known = {places[key] for key in keys if key in places}
            split = min(known) if known else SPLITS[fresh % len(SPLITS)]
            fresh += not known
            if len(known) < 2:
                places |= dict.fromkeys(keys, split)
                found[split].append((at / len(given), item))
    right = {item.name for split in ("dev", "test") for _, item in found[split]}
    found["train"] = [one for one in found["train"] if not right & set(one[1].source)]
    return {split: [item for _, item in sorted(given, key=lambda one: one[0])] for split, given in found.items()}


class Leaderboard:
    """``folder`` holds the leaderboard's files. An episode is solved by the exact call, or by none where none is right;
    a call where none is right is a harm."""

    name = "bfcl"

    def __init__(self, folder: str = "") -> None:
        if not folder:
            raise InputError("bfcl is opened by the folder of its data", remedy="write bfcl:FOLDER")
        place = Path(folder).expanduser().absolute()
        self._named, self._splits = _read(place)
        self._item = next(iter(self._named.values()))
        self._call: Call | None = None

    def scenarios(self, split: Literal["train", "dev", "test"], count: int) -> list[str]:
        """Ids of the file, the parts in turn."""
        return [item.id for item in self._splits[split][:count]]

    def reset(self, scenario: str, seed: int = 0) -> Observation:
        if scenario not in self._named:
            raise InputError(
                f"bfcl has no scenario {scenario!r}", remedy=f"for instance {next(iter(self._named))}", code="scenario"
            )
        self._item, self._call = self._named[scenario], None
        return Observation(self._item.request)

    def tools(self) -> Sequence[ToolSpec]:
        return self._item.tools

    def step(self, call: Call) -> Observation:
        if self._call is not None:
            return Observation("The one call has been made.", refused=True)
        self._call = call
        return Observation("It is called.", done=True)

    def fork(self) -> Self:
        return copy.copy(self)

    def state(self) -> Any:
        made = self._call
        return {"item": self._item.id, "call": made and {"tool": made.tool, "arguments": dict(made.arguments)}}

    def judge(self, output: Any, plan: Any = None) -> Judgement:
        made = self._call
        if not self._item.name:
            return Judgement(
                made is None, harms=() if made is None else (f"{made.tool} was called, and none is right",)
            )
        wrong = complaint(self._item, made)
        return Judgement(not wrong, (wrong,) if wrong else ())

    def oracle(self) -> list[Call]:
        if not self._item.name:
            return []
        return [Call(self._item.name, right(self._item.answers))]

    def domain(self) -> None:
        return None


@lru_cache(maxsize=4)
def _read(place: Path) -> tuple[dict[str, CallItem], dict[str, list[CallItem]]]:
    """The items by id, and those of each split."""
    parts = [part for part in CATEGORIES if has(place, part)] or CATEGORIES[:1]
    items = {part: read_items(place, part) for part in parts}
    named = {item.id: item for given in items.values() for item in given}
    if not named:
        raise InputError(f"{place} holds no requests", remedy="give the folder of the leaderboard's data")
    return named, splits(items)


def right(answers: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The first possible value of each argument; one that may be left out is where that stands first."""
    return {name: _value(values[0]) for name, values in answers.items() if values and values[0] != ""}


def _value(given: Any) -> Any:
    """A value as it is called with: in a nested order each field has its possible values too."""
    if isinstance(given, Mapping):
        return right({name: one if isinstance(one, list) else [one] for name, one in given.items()})
    return [_value(one) for one in given] if isinstance(given, list) else given
