"""A workflow file, read and checked whole before anything is asked: what is missing, unknown, written twice or in a
circle is told with its line."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.parts.problem import Problems, nearest
from rung.foundations.sandbox import names as variables
from rung.tasks.file.yaml import Location

KEYS = ("workflow", "description", "inputs", "outputs", "agents", "tools", "coordinator", "steps", "together")
COMMON = ("name", "output", "retry", "otherwise")
KINDS: Mapping[str, tuple[str, ...]] = {
    "agent": ("task", "inputs"),
    "tool": ("arguments",),
    "value": (),
    "when": ("then", "else"),
    "repeat": ("until", "most", "carry"),
    "each": ("as", "do", "collect", "together"),
    "vote": ("task", "inputs", "by", "weights", "quorum"),
}
"""What a step does, by the key that it has, and the other keys that go with it."""
INNER = ("then", "else", "repeat", "do")
ROUNDS = 100
STEPS = 500
DEEPEST = 20


@dataclass(frozen=True, slots=True)
class FlowStep:
    """One step. ``reads`` are the names that must be there before it begins, ``writes`` those that are there after it,
    ``parts`` the steps within it, ``place`` where it stands in the file."""

    kind: str
    name: str
    given: Mapping[str, Any]
    reads: frozenset[str]
    writes: tuple[str, ...]
    parts: Mapping[str, tuple[FlowStep, ...]]
    place: Location


@dataclass(frozen=True, slots=True)
class Flow:
    """A workflow: ``inputs`` with their defaults (None: must be given), steps, and the names that are its ``outputs``.
    Where there are no steps, the agent ``coordinator`` writes them. ``given`` is what the file says of it."""

    name: str
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]
    steps: tuple[FlowStep, ...]
    coordinator: str = ""
    together: int = 4
    given: Mapping[str, Any] = field(default_factory=dict)


def expression(text: Any) -> str:
    """An expression as a template that writes its value as JSON."""
    return "{{ (" + str(text) + ") | tojson }}"


class FlowReader:
    """Reads a workflow; what is wrong with it goes to ``problems``. ``agents`` and ``tools`` are the names that there
    are."""

    def __init__(
        self,
        agents: Iterable[str],
        tools: Iterable[str],
        file: Path | None = None,
        lines: Mapping[Location, int] | None = None,
    ) -> None:
        self.agents, self.tools, self.file, self.lines = set(agents), set(tools), file, lines or {}
        self.problems = Problems()
        self.asked: set[str] = set()
        self._count = 0

    def wrong(self, place: Location, message: str, remedy: str, code: str = "") -> None:
        line = next((self.lines[place[:end]] for end in range(len(place), -1, -1) if place[:end] in self.lines), None)
        self.problems.add(message, remedy, file=self.file or "", line=line, code=code)

    def flow(self, value: Mapping[str, Any]) -> Flow:
        """The workflow of a file's value."""
        for key in value:
            if key not in KEYS:
                self.wrong((key,), f"unknown key `{key}`", nearest(key, KEYS))
        inputs = self._inputs(value.get("inputs") or [])
        coordinator = str(value.get("coordinator") or "")
        if coordinator and coordinator not in self.agents:
            self.wrong(("coordinator",), f"there is no agent {coordinator!r}", nearest(coordinator, self.agents))
        together = value.get("together", 4)
        if not isinstance(together, int) or isinstance(together, bool) or not 1 <= together <= 1000:
            self.wrong(("together",), f"got together: {together!r}", "expected a number of 1 to 1000")
            together = 4
        steps = self.steps(value.get("steps"), ("steps",)) if not coordinator or value.get("steps") else ()
        outputs = self._listed(value.get("outputs"), ("outputs",)) or (steps[-1].writes[-1:] if steps else ())
        if steps:
            self.scope(steps, inputs, (), outputs)
            _unused(self, inputs, steps, outputs)
        if not coordinator and steps and not outputs:
            self.wrong(
                ("steps",), "nothing comes out of the workflow", "name an output: of its last step, or outputs: [NAME]"
            )
        kept = {key: item for key, item in value.items() if key != "agents"}
        return Flow(str(value.get("workflow") or "workflow"), inputs, outputs, steps, coordinator, together, kept)

    def _inputs(self, given: Any) -> dict[str, Any]:
        if isinstance(given, list):
            for at, name in enumerate(map(str, given)):
                if name in map(str, given[:at]):
                    self.wrong(("inputs", at), f"the input {name!r} is named twice", "take one away", "twice")
            given = dict.fromkeys(map(str, given))
        if not isinstance(given, Mapping):
            self.wrong(("inputs",), f"got inputs: {given!r}", "write inputs: [NAME], or {NAME: DEFAULT}")
            return {}
        for name in given:
            if not str(name).isidentifier():
                self.wrong(("inputs",), f"{name!r} is no name for an input", "letters, digits and _, no digit first")
        return dict(given)

    def _listed(self, given: Any, place: Location) -> tuple[str, ...]:
        if given is None:
            return ()
        found = [given] if isinstance(given, str) else given
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            self.wrong(place, f"got {place[-1]}: {given!r}", f"write {place[-1]}: [NAME, ...]")
            return ()
        return tuple(found)

    # ------------------------------------------------------------ steps

    def steps(self, given: Any, place: Location) -> tuple[FlowStep, ...]:
        """The steps of a list, whose names are unique among them."""
        if not isinstance(given, list) or not given:
            self.wrong(place, f"{place[-1]} holds no steps", "write a list: - agent: NAME ...")
            return ()
        if len(place) > 3 * DEEPEST:
            self.wrong(
                place, f"steps lie more than {DEEPEST} deep within one another", "make a workflow of the inner ones"
            )
            return ()
        found: list[FlowStep] = []
        for at, one in enumerate(given):
            self._count += 1
            if self._count > STEPS:
                self.wrong(place, f"more than {STEPS} steps", "make a workflow of some, and name it as an agent")
                break
            step = self._step(one, (*place, at), at + 1)
            if step is None:
                continue
            if any(step.name == other.name for other in found):
                self.wrong(step.place, f"two steps are named {step.name!r}", "give one another name:", "step-twice")
            found.append(step)
        return tuple(found)

    def _step(self, given: Any, place: Location, number: int) -> FlowStep | None:
        kinds = [kind for kind in KINDS if isinstance(given, Mapping) and kind in given]
        if len(kinds) != 1:
            self.wrong(place, f"step {number} does {' and '.join(kinds) or 'nothing'}", f"one of {', '.join(KINDS)}")
            return None
        kind = kinds[0]
        for key in given:
            if key not in (kind, *KINDS[kind], *COMMON):
                self.wrong((*place, key), f"{kind}: unknown key `{key}`", nearest(key, (*KINDS[kind], *COMMON)))
        output = given.get("output")
        if output is not None and (not isinstance(output, str) or not output.isidentifier()):
            self.wrong((*place, "output"), f"{output!r} is no name", "letters, digits and _, no digit first")
            output = None
        name = str(given.get("name") or output or f"{kind}-{number}")
        self._words(given, kind, place)
        parts = {arm: self.steps(given[arm], (*place, arm)) for arm in INNER if arm in given}
        reads, writes = self._flowing(given, kind, parts, place)
        return FlowStep(kind, name, given, frozenset(reads), writes, parts, place)

    def _words(self, given: Mapping[str, Any], kind: str, place: Location) -> None:
        """What a step names must be there, and its numbers numbers."""
        for known, what, found in (
            (self.agents, "agent", [given["agent"]] if kind == "agent" else given["vote"] if kind == "vote" else []),
            (self.tools, "tool", [given["tool"]] if kind == "tool" else []),
        ):
            if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
                self.wrong((*place, kind), f"got {kind}: {found!r}", f"write {kind}: [NAME, ...]")
                continue
            self.asked.update(found)
            for name in found:
                if name not in known:
                    self.wrong((*place, kind), f"there is no {what} {name!r}", nearest(name, known), "no-part")
        for key, low, high in (("most", 1, ROUNDS), ("retry", 0, 20), ("together", 1, 1000), ("quorum", 1, 1000)):
            value = given.get(key, low)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                self.wrong((*place, key), f"got {key}: {value!r}", f"expected a number of {low} to {high}")
        if kind == "repeat" and not ("until" in given or "most" in given):
            self.wrong(place, "nothing ends the repetition", "write until: EXPRESSION, or most: 5")
        if kind in ("agent", "vote") and not given.get("task") and not given.get("inputs"):
            self.wrong(place, "nothing is asked", "write task: WORDS, or inputs: [NAME]")
        for key, wanted in (("carry", Mapping), ("arguments", Mapping), ("weights", Mapping)):
            if key in given and not isinstance(given[key], wanted):
                self.wrong((*place, key), f"got {key}: {given[key]!r}", f"write {key}: {{NAME: ...}}")

    def _flowing(
        self, given: Mapping[str, Any], kind: str, parts: Mapping[str, Sequence[FlowStep]], place: Location
    ) -> tuple[set[str], tuple[str, ...]]:
        """The names that a step reads and writes."""
        output = (given["output"],) if isinstance(given.get("output"), str) else ()
        inner = {arm: _outside(steps) for arm, steps in parts.items()}
        wrote = {
            arm: tuple(dict.fromkeys(name for step in steps for name in step.writes)) for arm, steps in parts.items()
        }
        reads = self._template(given.get("task"), (*place, "task")) | set(
            self._listed(given.get("inputs"), (*place, "inputs"))
        )
        reads |= self._template(given.get("arguments"), (*place, "arguments"))
        for key in ("value", "when", "each", "otherwise"):
            if key in given:
                reads |= self._expression(given[key], (*place, key))
        if kind == "when":
            both = [name for name in wrote.get("then", ()) if name in wrote.get("else", ())]
            return reads | set().union(*inner.values()), tuple(dict.fromkeys((*both, *output)))
        if kind == "repeat":
            carried: Mapping[str, Any] = given["carry"] if isinstance(given.get("carry"), Mapping) else {}
            for name, begin in carried.items():
                reads |= self._expression(begin, (*place, "carry", name))
            until = self._expression(given["until"], (*place, "until")) if "until" in given else set()
            own = {*carried, *wrote.get("repeat", ())}
            return reads | (inner.get("repeat", set()) | until) - own, tuple(dict.fromkeys((*own, *output)))
        if kind == "each":
            item = str(given.get("as") or "item")
            if "do" not in parts:
                self.wrong(place, "nothing is done with each", "write do: [steps]")
            return reads | inner.get("do", set()) - {item}, output
        return reads, output

    def _template(self, given: Any, place: Location) -> set[str]:
        if isinstance(given, str):
            return self._names(given, place)
        if isinstance(given, Mapping):
            return set().union(*(self._template(value, (*place, key)) for key, value in given.items()), set())
        if isinstance(given, list):
            return set().union(*(self._template(value, (*place, at)) for at, value in enumerate(given)), set())
        return set()

    def _expression(self, given: Any, place: Location) -> set[str]:
        return self._names(expression(given), place)

    def _names(self, source: str, place: Location) -> set[str]:
        try:
            return set(variables(source))
        except InputError as error:
            self.wrong(place, error.message, error.remedy, "expression")
            return set()

    # ------------------------------------------------------------ checks

    def scope(
        self, steps: Sequence[FlowStep], known: Iterable[str], carried: Iterable[str], outputs: Sequence[str] = ()
    ) -> None:
        """Every name that is read is written by somebody before, once, and no two steps wait for each other."""
        there, again = set(known), set(carried)
        writers: dict[str, FlowStep] = {}
        for step in steps:
            for name in step.writes:
                first = writers.setdefault(name, step)
                if first is not step or (name in there and name not in again):
                    whose = f"by step {first.name!r}" if first is not step else "outside"
                    self.wrong(
                        step.place,
                        f"{name!r} is written twice, also {whose}",
                        "name the output otherwise",
                        "output-twice",
                    )
        within = _within(steps)
        for step in steps:
            inner_reads = set().union(
                *(_outside(part) for part in step.parts.values()), set()
            )  # told of where they stand
            for name in sorted(step.reads - inner_reads - there - writers.keys()):
                remedy = {
                    "": f"add it to inputs:, or a step with output: {name} ({nearest(name, there | writers.keys())})",
                    "each": f"{name} is written for each by itself: give the step an output: for the list of them",
                }.get(within.get(name, ""), f"{name} is written in one case only: write it in the other too")
                said = f"step {step.name!r} needs {name!r}, which is no input and no step's output"
                self.wrong(step.place, said, remedy, "missing-input")
        for name in outputs:
            if name not in there | writers.keys():
                self.wrong(
                    ("outputs",), f"output {name!r} is written by no step", nearest(name, writers), "missing-output"
                )
        try:
            TopologicalSorter(needs(steps, again)).prepare()
        except CycleError as error:
            circle = " -> ".join(error.args[1])
            self.wrong(steps[0].place, f"the steps wait for each other: {circle}", "take one input away", "circle")
        for step in steps:
            self._inner(step, there | writers.keys() - set(step.writes))

    def _inner(self, step: FlowStep, known: set[str]) -> None:
        carried = set(step.given.get("carry") or ()) if step.kind == "repeat" else set()
        item = {str(step.given.get("as") or "item")} if step.kind == "each" else set()
        for part in step.parts.values():
            if part:
                self.scope(part, known | carried | item, carried)
        for name in sorted(carried - {name for one in step.parts.get("repeat", ()) for name in one.writes}):
            said = f"{name!r} is carried, and no step of the round writes it"
            self.wrong((*step.place, "carry", name), said, f"give the step that makes it output: {name}", "carry")
        if step.kind == "each" and (done := step.parts.get("do")):
            wanted = step.given.get("collect") or (done[-1].writes[-1] if done[-1].writes else "")
            if wanted not in {name for one in done for name in one.writes}:
                self.wrong(
                    step.place, f"nothing is collected: no step within writes {wanted or 'an output'}", "collect: NAME"
                )


def _within(steps: Iterable[FlowStep]) -> dict[str, str]:
    """Names that are written inside of steps, and the kind of the step."""
    parts = ((step.kind, part) for step in steps for part in step.parts.values())
    return {name: kind for kind, part in parts for inner in part for name in inner.writes}


def _unused(reader: FlowReader, inputs: Iterable[str], steps: Sequence[FlowStep], outputs: Sequence[str]) -> None:
    """Tell of inputs that nothing reads (a mistake) and agents that nobody asks (perhaps one)."""
    read = set().union(*(step.reads for step in steps)) | set(outputs)
    for name in inputs:
        if name not in read:
            reader.wrong(("inputs",), f"no step reads the input {name!r}", "take it away, or use it", "unused-input")
    for name in sorted(reader.agents - reader.asked):
        reader.problems.add(
            f"no step asks the agent {name!r}",
            "take it away, or ask it",
            file=reader.file or "",
            line=reader.lines.get(("agents", name)),
            level="warning",
            code="unused-agent",
        )


def needs(steps: Sequence[FlowStep], carried: Container[str]) -> dict[str, set[str]]:
    """For each step the steps that it waits for. What is ``carried`` from round to round and written anew is read as it
    was by the steps up to the one that writes it, and anew by those behind it."""
    writers = {name: (at, step.name) for at, step in enumerate(steps) for name in step.writes}
    return {
        step.name: {
            writers[name][1]
            for name in step.reads
            if name in writers and (name not in carried or writers[name][0] < at)
        }
        for at, step in enumerate(steps)
    }


def _outside(steps: Sequence[FlowStep]) -> set[str]:
    """What steps read that none of them writes."""
    wrote = {name for step in steps for name in step.writes}
    return set().union(*(step.reads for step in steps), set()) - wrote
