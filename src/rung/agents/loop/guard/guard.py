"""Rules on calls, in YAML: which may be made, which a person must approve, which are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from rung.agents.loop.move import Call
from rung.core.codec import decode
from rung.core.errors import InputError
from rung.core.parts.place import here
from rung.core.parts.problem import nearest
from rung.core.protocols import Effect
from rung.core.text.pattern import compile_pattern
from rung.foundations.text.yaml import load_yaml

Then = Literal["allow", "ask", "deny"]
_ORDER: tuple[Then, ...] = ("allow", "ask", "deny")

TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "is": lambda value, want: bool(value == want),
    "in": lambda value, want: value in want,
    "above": lambda value, want: isinstance(value, int | float) and value > want,
    "below": lambda value, want: isinstance(value, int | float) and value < want,
    "least": lambda value, want: _number(value) and _number(want) and value >= want,
    "most": lambda value, want: _number(value) and _number(want) and value <= want,
    "days_after": lambda value, want: _days(want[0], value) >= want[1],
    "matches": lambda value, want: (
        compile_pattern(want).search(value if isinstance(value, str) else str(value)) is not None
    ),
}
"""What an argument, or a field of what was read, can be held against; one that is not there passes none of them.
``days_after`` [DATE, DAYS]: it is a date so many days later."""

Read = Callable[[str], Iterable[Mapping[str, Any]]]
"""The records that a tool's last results in the episode were made of, by its name."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _days(first: Any, last: Any) -> float:
    """Days between two ISO dates; -inf where one is none."""
    try:
        return (date.fromisoformat(str(last)[:10]) - date.fromisoformat(str(first)[:10])).days
    except ValueError:
        return float("-inf")


def _passes(value: Any, test: Any, arguments: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether a value passes a test, in which ``$name`` is an argument of the call and ``.name`` another field of the
    record."""

    def meant(want: Any) -> Any:
        if isinstance(want, list | tuple):
            return [meant(one) for one in want]
        if isinstance(want, str) and want[1:].isidentifier() and want[0] in "$.":
            return (arguments if want[0] == "$" else record).get(want[1:], _NOTHING)
        return want

    tests = test if isinstance(test, Mapping) else {"is": test}
    return all(TESTS[key](value, want if key == "matches" else meant(want)) for key, want in tests.items())


_NOTHING = object()


class Ruling(NamedTuple):
    """What a guard says to a call, and why."""

    then: Then
    because: str = ""


@dataclass(frozen=True, slots=True)
class GuardRule:
    """For calls of tools whose names match ``tool`` (``*`` and ``?``) and whose arguments pass every test of ``when``:
    {argument: value} or {argument: {above: 100}}. ``found`` holds a call against what was read: {tool: {field: test}},
    and one record in the last results of that tool must pass all of them; ``$name`` in a test is an argument of the
    call, ``.name`` another field of the record. ``targets`` "any": it may go where only untrusted words say."""

    then: Then
    tool: str = "*"
    when: Mapping[str, Any] = field(default_factory=dict)
    because: str = ""
    targets: Literal["vouched", "any"] = "vouched"
    found: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for tool, fields in self.found.items():
            if not isinstance(fields, Mapping) or not fields:
                raise InputError(f"guard: found {tool}: {fields!r}", remedy=f"write found: {{{tool}: {{FIELD: TEST}}}}")
            self._check(fields)
        self._check(self.when)

    def _check(self, tests: Mapping[str, Any]) -> None:
        for name, test in tests.items():
            for key, want in test.items() if isinstance(test, Mapping) else ():
                if key not in TESTS:
                    raise InputError(f"guard: {name} has no test {key!r}", remedy=nearest(str(key), TESTS))
                if key == "matches":
                    compile_pattern(str(want))
                if key == "days_after" and not (isinstance(want, list | tuple) and len(want) == 2 and _number(want[1])):
                    raise InputError(f"guard: {name} days_after {want!r}", remedy="write days_after: [.promised, 5]")
                if key in ("above", "below") and (isinstance(want, bool) or not isinstance(want, int | float)):
                    raise InputError(f"guard: {name} {key} {want!r}", remedy=f"write {name}: {{{key}: 100}}")
                if key == "in" and not isinstance(want, list | tuple):
                    raise InputError(f"guard: {name} in {want!r}", remedy=f"write {name}: {{in: [a, b]}}")

    def fits(self, call: Call, read: Read) -> bool:
        given = call.arguments
        return (
            fnmatchcase(call.tool, self.tool)
            and all(name in given and _passes(given[name], test, given, {}) for name, test in self.when.items())
            and all(
                any(
                    all(name in record and _passes(record[name], test, given, record) for name, test in fields.items())
                    for record in read(tool)
                )
                for tool, fields in self.found.items()
            )
        )


@dataclass(frozen=True, slots=True)
class CallGuard:
    """The first rule that fits decides; without one the effect of the tool does (``defaults``). A call that changes
    something and whose targets nobody who is trusted has named is besides refused or asked about, as ``taint`` says;
    ``targets`` names the targets of tools that do not say them. More than ``asks`` questions an episode are not put to
    a person but refused."""

    rules: tuple[GuardRule, ...] = ()
    defaults: Mapping[str, Then] = field(default_factory=dict)
    taint: Literal["deny", "ask", "off"] = "deny"
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    asks: int = 3

    def __post_init__(self) -> None:
        for at, rule in enumerate(self.rules):
            for before, other in enumerate(self.rules[:at]):
                if not other.when and not other.found and (other.tool == "*" or fnmatchcase(rule.tool, other.tool)):
                    raise InputError(
                        f"guard: rule {at + 1} can never apply: rule {before + 1} takes every call of {rule.tool}",
                        remedy="put the narrower rule first",
                        code="unreachable-rule",
                    )
        for effect, then in self.defaults.items():
            if effect not in _DEFAULTS or then not in _ORDER:
                raise InputError(
                    f"guard: default {effect}: {then}", remedy="write {pure: allow, keyed: allow, once: ask}"
                )
        if isinstance(self.asks, bool) or self.asks < 0:
            raise InputError(f"guard: asks is {self.asks!r}, expected 0 or more", remedy="write asks: 3")

    def check(self, tools: Sequence[str]) -> None:
        """Raises InputError for a rule about a tool that there is not: a slip there would let through what it should
        stop."""
        read = (name for rule in self.rules for name in rule.found)
        for name in (*(rule.tool for rule in self.rules), *read, *self.targets):
            if not any(fnmatchcase(tool, name) for tool in tools):
                raise InputError(f"guard: there is no tool {name!r}", remedy=nearest(name, tools))

    def aims(self, call: Call, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call that say where its effect goes."""
        named = {name for tool, names in self.targets.items() if fnmatchcase(call.tool, tool) for name in names}
        named |= {
            name
            for name, inner in (schema.get("properties") or {}).items()
            if isinstance(inner, Mapping) and inner.get("x-target")
        }
        return {name: value for name, value in call.arguments.items() if name in named}

    def rule(self, call: Call, effect: Effect, strange: Mapping[str, Any], read: Read = lambda _: ()) -> Ruling:
        """What is said to a call. ``strange`` are the targets that nobody who is trusted has named."""
        found = next((rule for rule in self.rules if rule.fits(call, read)), None)
        if found is not None:
            ruling = Ruling(found.then, found.because or f"rule: {found.tool} {found.then}")
        else:
            then = self.defaults.get(effect, _DEFAULTS[effect])
            ruling = Ruling(
                then, f"what {call.tool} does cannot be undone" if effect == "once" else "the guard's default"
            )
        if not strange or effect == "pure" or self.taint == "off" or (found is not None and found.targets == "any"):
            return ruling
        names = ", ".join(f"{name} {value!r}" for name, value in strange.items())
        tainted = Ruling(self.taint, f"nobody who is trusted has named {names}")
        return stricter(ruling, tainted)


_DEFAULTS: Mapping[str, Then] = {"pure": "allow", "keyed": "allow", "once": "ask"}


def stricter(one: Ruling, other: Ruling) -> Ruling:
    """The stricter of two, the first of equal ones."""
    return other if _ORDER.index(other.then) > _ORDER.index(one.then) else one


def read_guard(given: str | Mapping[str, Any]) -> CallGuard:
    """A guard of a mapping, or of a YAML file beside the agent or task. Raises InputError for what is none."""
    value: Any = given
    if isinstance(given, str):
        value = load_yaml(here().path(given), "name a guard's YAML file")
    if not isinstance(value, Mapping):
        raise InputError(
            f"a guard is {value!r}, expected rules:, defaults:, taint:, targets:, asks:", remedy="see docs/guard.md"
        )
    fields = CallGuard.__dataclass_fields__
    for key in value:
        if key not in fields:
            raise InputError(f"guard: unknown key {key!r}", remedy=nearest(str(key), fields))
    for at, rule in enumerate(value.get("rules") or (), 1):
        if not isinstance(rule, Mapping) or "then" not in rule:
            raise InputError(
                f"guard: rule {at} is {rule!r}", remedy="write {tool: NAME, when: {...}, then: allow|ask|deny}"
            )
        if wrong := [key for key in rule if key not in GuardRule.__dataclass_fields__]:
            raise InputError(
                f"guard: rule {at} has no {wrong[0]!r}", remedy=nearest(wrong[0], GuardRule.__dataclass_fields__)
            )
    try:
        return decode(CallGuard, {name: inner for name, inner in value.items() if inner is not None})
    except (TypeError, ValueError) as error:
        raise InputError(f"guard: {error}", remedy="see docs/guard.md") from None
