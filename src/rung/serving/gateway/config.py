"""``gateway.yaml``: what there is behind a server, what callers ask for, and who may use how much. Every mistake has
its line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from rung.core.errors import InputError
from rung.core.parts.problem import Problems, nearest
from rung.serving.access.limit import PERIODS, SpendingLimit, read_limit, read_seconds
from rung.serving.http.limits import Limits
from rung.tasks.file.yaml import Location, parse

KEPT, REFUSAL = "cached", "refusal"
"""Links of a chain that are no endpoints: an answer that was given before, and a text instead of one."""

EXAMPLE = "docs/serving.md has a whole one"


def _span(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        return read_seconds(value)
    except InputError as error:
        raise ValueError(f"{error.message}; {error.remedy}") from None


M = TypeVar("M", bound=BaseModel)

Seconds = Annotated[float, BeforeValidator(_span), Field(gt=0, le=86400 * 365)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PriceSpec(_Strict):
    """US dollars for a million tokens."""

    prompt: float = Field(ge=0, lt=1e6)
    completion: float = Field(ge=0, lt=1e6)
    cached: float | None = Field(default=None, ge=0, lt=1e6)


class EndpointSpec(_Strict):
    """One thing that answers: a ``program`` folder, a ``model`` (provider:name), an ``agent`` file, or another server's
    ``url`` (with ``name``, the model's name there). ``context`` is in tokens."""

    program: Path | None = None
    model: str | None = None
    agent: Path | None = None
    url: str | None = None
    name: str | None = None
    context: int | None = Field(default=None, ge=1, le=100_000_000)
    price: PriceSpec | None = None
    weight: float = Field(default=1.0, gt=0, le=1000)

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("program", "model", "agent", "url") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of program, model, agent and url, got {' and '.join(given) or 'none'}")
        if (self.url is None) != (self.name is None):
            raise ValueError("expected url together with name, the model's name at that server")
        return self


class TimeoutSpec(_Strict):
    first: Seconds = 30.0
    between: Seconds = 30.0
    whole: Seconds = 120.0


class BreakerSpec(_Strict):
    failures: int = Field(default=3, ge=1, le=1000)
    seconds: Seconds = 10.0


def _links(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class RouteSpec(_Strict):
    """What callers ask for: links in the order in which they are tried; a list in the list is balanced."""

    links: Annotated[list[str | list[str]], BeforeValidator(_links)] = Field(alias="try", min_length=1, max_length=32)
    balance: Literal["least-busy", "round-robin", "weighted", "prefix"] = "least-busy"
    timeouts: TimeoutSpec = TimeoutSpec()
    retries: int = Field(default=1, ge=0, le=10)
    breaker: BreakerSpec = BreakerSpec()
    cache: Seconds | None = None
    refusal: str = Field(
        default="This question cannot be answered at the moment. Please ask again later.", min_length=1
    )

    def names(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Each endpoint's name, and where it stands."""
        for at, link in enumerate(self.links):
            if isinstance(link, str):
                if link not in (KEPT, REFUSAL):
                    yield ("try", at), link
            else:
                for inner, name in enumerate(link):
                    yield ("try", at, inner), name


class TenantSpec(_Strict):
    """What a tenant may use, all its keys together."""

    budget: list[str] = []
    tokens: list[str] = []
    requests: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: [str(one)] if isinstance(one, str | int | float) else one for name, one in value.items()}

    def limits(self) -> tuple[SpendingLimit, ...]:
        """Raises InputError for what cannot be read."""
        given = (("money", self.budget, "month"), ("tokens", self.tokens, "day"), ("requests", self.requests, "minute"))
        return tuple(read_limit(unit, text, period) for unit, texts, period in given for text in texts)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        try:
            self.limits()
        except InputError as error:
            raise ValueError(f"{error.message}; periods: {', '.join(PERIODS)}") from None
        return self


class LimitSpec(_Strict):
    body: int = Field(default=Limits().body, ge=1024)
    characters: int = Field(default=Limits().characters, ge=1)
    running: int = Field(default=Limits().running, ge=1)
    waiting: int = Field(default=Limits().waiting, ge=0)
    deadline: Seconds = Limits().deadline
    grace: Seconds = Limits().grace


class ModerationSpec(_Strict):
    """``policy``: a folder of rung moderate fit. ``strict``: what it is unsure of is held back too."""

    policy: Path
    requests: bool = True
    answers: bool = True
    strict: bool = False


class GatewaySpec(_Strict):
    """The whole file. ``keys: issued`` asks everyone for a key that ``rung keys new`` made."""

    endpoints: dict[str, EndpointSpec] = Field(min_length=1)
    routes: dict[str, RouteSpec] = Field(min_length=1)
    tenants: dict[str, TenantSpec] = {}
    keys: Literal["issued", "none"] = "none"
    limits: LimitSpec = LimitSpec()
    record: int | None = Field(default=None, ge=1)
    subjects: bool = False
    search: list[str] = []
    embedders: dict[str, str] = {}
    moderation: ModerationSpec | None = None
    styles: Path | None = None


def read_gateway(file: Path) -> GatewaySpec:
    """The gateway of a file. Raises InputError for its first mistake, with its line."""
    problems = Problems()
    parsed = parse(file, problems, "gateway file", EXAMPLE)
    if parsed is not None:
        spec = validate(GatewaySpec, parsed, problems, file, _known)
        if spec is not None:
            _check_names(spec, parsed[1], problems, file)
    problems.demand(file)
    assert parsed is not None
    assert spec is not None
    return spec


def validate(
    kind: type[M],
    parsed: tuple[dict[str, Any], Mapping[Location, int]],
    problems: Problems,
    file: Path,
    known: Callable[[tuple[str | int, ...]], Iterable[str]],
    example: str = EXAMPLE,
) -> M | None:
    """A file's value as ``kind``; its mistakes, each with its line, go to ``problems``. ``known``: the keys there are
    at a place; ``example``: where a whole file is shown."""
    value, lines = parsed
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            path = tuple(part for part in one["loc"] if _is_there(value, one["loc"], part))
            place = ".".join(str(part) for part in one["loc"] if part in path or part == one["loc"][-1])
            said = one["msg"].removeprefix("Value error, ")
            remedy = example
            if one["type"] == "extra_forbidden":
                said, remedy = "there is no such key", nearest(str(one["loc"][-1]), known(one["loc"]))
                if one["loc"][-1] == "key":
                    remedy = "a key's variable is named outside of this file: RUNG_KEYS='URL=VARIABLE'"
            problems.add(f"{place}: {said[:1].lower()}{said[1:]}", remedy, file=file, line=_line(lines, path))
        return None


def _is_there(value: Any, location: tuple[str | int, ...], part: str | int) -> bool:
    """Whether a part of a location is one of the file's (pydantic also names the arms of unions)."""
    for step in location[: location.index(part) + 1]:
        held = isinstance(value, Mapping) and step in value
        if held or (isinstance(value, list) and isinstance(step, int) and step < len(value)):
            inner: Any = value
            value = inner[step]
        elif step == part:
            return False
    return True


def _known(location: tuple[str | int, ...]) -> list[str]:
    """The keys that are known where a location lies."""
    kinds: dict[str, type[BaseModel]] = {
        "endpoints": EndpointSpec, "routes": RouteSpec, "tenants": TenantSpec, "limits": LimitSpec,
        "moderation": ModerationSpec, "timeouts": TimeoutSpec, "breaker": BreakerSpec, "price": PriceSpec,
    }  # fmt: skip
    inner = [kinds[part] for part in location[:-1] if isinstance(part, str) and part in kinds]
    kind = inner[-1] if inner else GatewaySpec
    return [field.alias or name for name, field in kind.model_fields.items()]


def _line(lines: Mapping[Location, int], path: tuple[str | int, ...]) -> int | None:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


def _check_names(spec: GatewaySpec, lines: Mapping[Location, int], problems: Problems, file: Path) -> None:
    """Every link names an endpoint or another route, and no route comes back to itself."""
    for id, route in spec.routes.items():
        if id in spec.endpoints and any(name == id for _, name in route.names()) is False:
            line = lines.get(("routes", id))
            problems.add(f"{id} is an endpoint and a route", "give the route another name", file=file, line=line)
        for place, name in route.names():
            line = _line(lines, ("routes", id, *place))
            if name not in spec.endpoints and name not in spec.routes:
                known = [*spec.endpoints, *spec.routes, KEPT, REFUSAL]
                problems.add(f"routes.{id}: there is no endpoint {name!r}", nearest(name, known), file=file, line=line)
            elif name not in spec.endpoints and id in _reached(spec, name):
                said = f"routes.{id}: {name} comes back to {id}"
                problems.add(said, "a chain cannot name itself", file=file, line=line)
        words = [link for link in route.links if isinstance(link, str)]
        if not [link for link in route.links if link not in (KEPT, REFUSAL)]:
            line = lines.get(("routes", id))
            problems.add(f"routes.{id}: no link is an endpoint", EXAMPLE, file=file, line=line)
        elif REFUSAL in words[:-1]:
            line = _line(lines, ("routes", id, "try"))
            problems.add(f"routes.{id}: nothing comes after {REFUSAL}", "put it last", file=file, line=line)


def _reached(spec: GatewaySpec, name: str) -> set[str]:
    """The routes that a route leads to, itself included."""
    found: set[str] = set()
    todo = [name]
    while todo:
        if (one := todo.pop()) not in found and one in spec.routes and one not in spec.endpoints:
            found.add(one)
            todo += [inner for _, inner in spec.routes[one].names()]
    return found
