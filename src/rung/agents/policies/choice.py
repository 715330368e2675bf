"""A policy by name and options, and back: what agent files, task files and saved programs hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast, get_args, get_origin, get_type_hints

from rung.agents.environments.environment import Domain, Teachable
from rung.agents.loop.move import AgentPolicy, Call
from rung.agents.loop.view import View
from rung.core.codec import decode, encode
from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.parts.problem import nearest
from rung.core.protocols import Model, Resources


def make_policy(given: str | Mapping[str, Any], resources: Resources, model: str | None = None) -> AgentPolicy:
    """The policy of a name, or of {name: NAME, option: value, ...}. A field typed Model is the model it names, or
    ``model`` (one that may be None is, where neither is given); a field typed AgentPolicy, or a mapping of them, is
    made in the same way.

    Raises InputError for a name, an option or a value that there is not.
    """
    chosen = {"name": given} if isinstance(given, str) else dict(given)
    name = chosen.pop("name", "")
    kind = registry.load("policy", str(name))
    hints = _hints(kind)
    unknown = [option for option in chosen if option not in hints]
    if unknown:
        raise InputError(f"policy {name} has no option {unknown[0]!r}", remedy=nearest(unknown[0], hints))
    options: dict[str, Any] = {}
    for option, hint in hints.items():
        try:
            if hint is Model or (_model(hint) and (option in chosen or model)):
                options[option] = resources.model(chosen.get(option, model))
            elif option not in chosen:
                continue
            elif hint is AgentPolicy:
                options[option] = make_policy(chosen[option], resources, model)
            elif _policies(hint):
                inner: Any = chosen[option]
                options[option] = {key: make_policy(value, resources, model) for key, value in inner.items()}
            else:
                options[option] = decode(hint, chosen[option])
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"policy {name}: option {option}: {error}", remedy="correct it") from None
    try:
        return cast(AgentPolicy, kind(**options))
    except TypeError as error:
        raise InputError(f"policy {name}: {error}", remedy=f"its options: {', '.join(hints)}") from None


def describe(policy: AgentPolicy) -> dict[str, Any]:
    """What ``make_policy`` makes it of again; options at their defaults are left out."""
    said: dict[str, Any] = {"name": cast(Any, policy).name}
    for field in dataclasses.fields(cast(Any, policy)):
        value, hint = getattr(policy, field.name), _hints(type(policy))[field.name]
        if _model(hint):
            said |= {field.name: value.name} if value is not None else {}
        elif hint is AgentPolicy:
            said[field.name] = describe(value)
        elif _policies(hint):
            said[field.name] = {key: describe(inner) for key, inner in value.items()}
        elif value != field.default and not (
            field.default_factory is not dataclasses.MISSING and value == field.default_factory()
        ):
            said[field.name] = encode(value)
    return said


def models(policy: AgentPolicy) -> list[Model]:
    """The models that a policy asks, its own first."""
    found: list[Model] = []
    for name, hint in _hints(type(policy)).items():
        value = getattr(policy, name)
        if _model(hint):
            found[:0] = [value] if value is not None else []
        elif hint is AgentPolicy:
            found += models(value)
        elif _policies(hint):
            found += [model for inner in value.values() for model in models(inner)]
    return found


def _model(hint: Any) -> bool:
    return hint is Model or hint == (Model | None)


def _policies(hint: Any) -> bool:
    return get_origin(hint) is not None and AgentPolicy in get_args(hint)


@lru_cache(maxsize=64)
def _hints(kind: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(kind):
        raise InputError(f"{kind!r} is no policy: expected a dataclass", remedy="see docs/extending.md")
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def domain_of(view: View, name: str) -> Domain:
    """What is known of the environment. Raises InputError where there is none."""
    if view.domain is None:
        raise InputError(
            f"policy {name} decides by what is known of an environment, and there is none",
            remedy="name one (environment: gridworld), or another policy: llm",
            code="no-environment",
        )
    return cast(Domain, view.domain)


def belief(view: View, domain: Domain) -> Any:
    """What everything that was seen so far makes believe; the part that was folded in before is kept in the memo."""
    first = view.turns[0].percept if view.turns else view.percept
    if (known := view.memo.get("belief")) is not None:
        at, held = known
    else:
        at, held = 0, domain.believe(None, None, first)
        for lesson in view.lessons if isinstance(domain, Teachable) else ():
            held = cast(Teachable, domain).teach(held, lesson)
    while at < len(view.turns):
        turn = view.turns[at]
        at += 1
        after = view.turns[at].percept if at < len(view.turns) else view.percept
        made = next((Call(call.tool, call.arguments) for call in turn.calls if not call.refused), None)
        held = domain.believe(held, made, after) if turn.calls else held
    view.memo["belief"] = at, held
    return held
