"""Another policy with mistakes: now and then some valid call in place of what it decided."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rung.agents.loop.move import AgentPolicy, Call, Decision
from rung.agents.loop.view import View
from rung.agents.policies.given.scripted import Scripted
from rung.core.errors import InputError
from rung.core.types import ToolSpec


@dataclass(frozen=True)
class Noisy:
    """``inner`` with a random valid call in a share ``p`` of the decisions; with p 1 a baseline that understands
    nothing."""

    name: ClassVar[str] = "noisy"

    p: float = 0.1
    seed: int = 0
    inner: AgentPolicy = field(default_factory=Scripted)

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise InputError(f"got p {self.p}, expected 0 to 1", remedy="write p: 0.1")

    async def decide(self, view: View) -> Decision:
        draw = random.Random(f"{self.seed} {view.seed} {view.scenario} {view.steps}")
        if draw.random() < self.p and view.tools:
            spec = draw.choice(view.tools)
            words = [word.strip(".,;:?!()'\"") for word in view.request.split()] or ["a"]
            return Decision((Call(spec.name, random_arguments(spec, draw, words)),), thought="any call")
        return await self.inner.decide(view)


def random_arguments(spec: ToolSpec, draw: random.Random, words: list[str]) -> Mapping[str, Any]:
    """Arguments of the right kinds: of a closed choice any, of texts some word of ``words``."""

    def value(schema: Mapping[str, Any], depth: int) -> Any:
        if "enum" in schema:
            return draw.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        kind = schema.get("type", "string")
        if kind == "boolean":
            return draw.random() < 0.5
        if kind in ("integer", "number"):
            return draw.randint(int(schema.get("minimum", 0)), int(schema.get("maximum", 9)))
        if kind == "array":
            return [value(schema.get("items", {}), depth + 1)] if depth < 4 else []
        if kind == "object":
            return fill(schema, depth + 1) if depth < 4 else {}
        return draw.choice(words)

    def fill(schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        return {
            name: value(inner, depth)
            for name, inner in schema.get("properties", {}).items()
            if name in required or draw.random() < 0.3
        }

    return fill(spec.schema, 0)
