"""``services.yaml``: which verbs run together, how many of each, and in which order. Every mistake has its line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Container, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rung.core.parts.problem import Problems, nearest
from rung.serving.gateway.config import Seconds, validate
from rung.tasks.file.yaml import Location, parse

EXAMPLE = "docs/connect.md has a whole one"
TELLING = ("serve", "worker")
"""Verbs that say when they are ready; another one is taken to be after SETTLED seconds."""
SOLE = ("stream", "tune")
"""Verbs of which two must not be at work on the same thing: the old one ends before the new one begins."""


def _words(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError as error:
        raise ValueError(f"{value!r} cannot be cut into words: {error}") from None


class ServiceSpec(BaseModel):
    """``run``: a verb of rung with its words. ``count`` processes of it, begun when those in ``after`` are ready.
    ``port`` (serve): bound once and kept, also while processes end and begin. ``every``: begun again so long after it
    ended well. ``start``, ``grace``: how long it may take to be ready, and to end."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    run: Annotated[list[str], BeforeValidator(_words)] = Field(min_length=1)
    count: int = Field(default=1, ge=1, le=64)
    after: list[str] = []
    port: int | None = Field(default=None, ge=0, le=65535)
    env: dict[str, str] = {}
    every: Seconds | None = None
    start: Seconds = 120.0
    grace: Seconds = 30.0

    @property
    def verb(self) -> str:
        return self.run[0]

    @property
    def tells(self) -> bool:
        return self.verb in TELLING


class ServicesSpec(BaseModel):
    """The whole file; ``env`` is for all services."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    services: dict[str, ServiceSpec] = Field(min_length=1)
    env: dict[str, str] = {}

    @property
    def order(self) -> list[str]:
        """Each service behind those that it comes after."""
        return list(TopologicalSorter({name: one.after for name, one in self.services.items()}).static_order())


def read_services(file: Path, verbs: Container[str]) -> ServicesSpec:
    """The services of a file; ``verbs`` are those that there are. Raises InputError for its first mistake, with its
    line."""
    problems = Problems()
    parsed = parse(file, problems, "services file", EXAMPLE)
    spec = None
    if parsed is not None:
        spec = validate(ServicesSpec, parsed, problems, file, _known, EXAMPLE)
        if spec is not None:
            _check(spec, parsed[1], problems, file, verbs)
    problems.demand(file)
    assert spec is not None
    return spec


def _known(location: tuple[str | int, ...]) -> list[str]:
    return list((ServiceSpec if len(location) > 1 else ServicesSpec).model_fields)


def _check(
    spec: ServicesSpec, lines: Mapping[Location, int], problems: Problems, file: Path, verbs: Container[str]
) -> None:
    for name, one in spec.services.items():
        line = lines.get(("services", name))

        def wrong(said: str, remedy: str, key: str, name: str = name, line: int | None = line) -> None:
            problems.add(
                f"services.{name}: {said}",
                remedy,
                file=file,
                line=lines.get(("services", name, key), line),
                code="service",
            )

        if not re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name):
            wrong("it cannot be a name", "use letters, digits, _ and -", "")
        if one.verb not in verbs or one.verb == "up":
            wrong(f"{one.verb!r} is no verb that can be kept at work", "write run: as after `rung`: serve ...", "run")
        for other in one.after:
            if other not in spec.services:
                wrong(f"there is no service {other!r}", nearest(other, spec.services), "after")
        if one.verb == "serve" and (
            taken := {"--port", "--fd", "--host"} & {word.partition("=")[0] for word in one.run}
        ):
            wrong(f"{min(taken)} is given", "write port: beside run:, which is bound here and kept", "run")
        if one.port is not None and one.verb != "serve":
            wrong("only serve has a port", "leave it out", "port")
        if one.count > 1 and (one.verb in SOLE or one.every is not None):
            wrong(f"two of {one.verb} would be at work on the same thing", "write count: 1", "count")
    try:
        _ = spec.order
    except CycleError as error:
        circle = " after ".join(error.args[1])
        problems.add(
            f"services wait for one another: {circle}",
            "take one `after` out",
            file=file,
            line=lines.get(("services",)),
            code="circle",
        )
