"""From a gateway's file to endpoints: opened, put into routes and chains. A file that is read again replaces all or
nothing."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rung.core.codec import canonical
from rung.core.errors import InputError
from rung.models import Pool, prices
from rung.models.prices import Price
from rung.models.providers.access import check_url, named_key, refuse_plain
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.endpoints.local import Opened, open_agent, open_folder
from rung.serving.endpoints.model import ModelEndpoint
from rung.serving.endpoints.program import ProgramEndpoint, trail_of
from rung.serving.endpoints.remote.connection import Connections
from rung.serving.endpoints.remote.remote import RemoteEndpoint
from rung.serving.gateway.cache import AnswerCache
from rung.serving.gateway.chain import Apology, Chain, Kept, Link
from rung.serving.gateway.config import (
    KEPT,
    REFUSAL,
    EndpointSpec,
    GatewaySpec,
    ModerationSpec,
    RouteSpec,
    read_gateway,
)
from rung.serving.gateway.member import Breaker, RouteMember
from rung.serving.gateway.route import Route
from rung.serving.gateway.timeouts import Timeouts
from rung.serving.quality.people.moderation import Moderation
from rung.store import Store

logger = logging.getLogger("rung.serving")


@dataclass
class Gateway:
    """An open gateway. ``chains`` are what callers ask for; ``read`` takes the file again. ``admit`` raises InputError
    for folders that may not be served."""

    file: Path
    pool: Pool
    store: Store | None
    admit: Callable[[Sequence[Path]], None] = lambda folders: None
    connections: Connections = field(default_factory=Connections)
    spec: GatewaySpec = field(init=False)
    chains: Mapping[str, Chain] = field(default_factory=dict, init=False)
    cache: AnswerCache = field(init=False)
    moderation: Moderation | None = field(default=None, init=False)
    _opened: dict[str, Endpoint] = field(default_factory=dict, init=False)
    _members: dict[str, RouteMember] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.cache = AnswerCache(self.store)

    def read(self) -> Mapping[str, Chain]:
        """Read the file and open what is new in it. Raises RungError, and then everything is as it was. Endpoints that
        stay keep what is known of them: how busy they are, and whether they have failed."""
        spec = read_gateway(self.file)
        self.admit(self._folders(spec))
        opened: dict[str, Endpoint] = {}
        members: dict[str, RouteMember] = {}
        for name, one in spec.endpoints.items():
            mark = self._mark(name, one)
            opened[mark] = self._opened.get(mark) or self._open(name, one, spec.limits.characters)
            known = self._members.get(mark)
            members[mark] = known if known is not None else self._member(name, one, opened[mark])
        by_name = {member.name: member for member in members.values()}
        chains = {id: self._chain(id, spec, by_name, {}) for id in spec.routes}
        moderation = self._moderation(spec.moderation) if spec.moderation is not None else None
        self.cache.deterministic = frozenset(
            id for id, chain in chains.items() if all(isinstance(m.endpoint, ProgramEndpoint) for m in chain.members)
        )
        self.spec, self.chains, self._opened, self._members = spec, chains, opened, members
        self.moderation = moderation
        return chains

    def _folders(self, spec: GatewaySpec) -> list[Path]:
        """The folders of programs and adapters that are to be served."""
        specs = spec.endpoints.values()
        found = [self.beside(one.program) for one in specs if one.program is not None]
        return [*found, *filter(None, (adapter_of(one.model) for one in specs if one.model is not None))]

    def _mark(self, name: str, spec: EndpointSpec) -> str:
        """What makes an endpoint the same when the file is read again: of a program also where its folder really is (a
        cycle's ``current`` is a link), and when it was written."""
        folder = self.beside(spec.program).resolve() if spec.program is not None else None
        file = folder / "program.json" if folder is not None else None
        made = file.stat().st_mtime_ns if file is not None and file.is_file() else 0
        return canonical([name, spec.model_dump(mode="json"), str(folder), made])

    def _moderation(self, spec: ModerationSpec) -> Moderation:
        if self.store is None:
            raise InputError("moderation needs a store", file=self.file, remedy="name it: --store URL")
        return Moderation.open(
            self.beside(spec.policy), self.store, requests=spec.requests, answers=spec.answers, strict=spec.strict
        )

    def _open(self, name: str, spec: EndpointSpec, characters: int) -> Endpoint:
        now = int(time.time())
        try:
            if spec.program is not None:
                opened = open_folder(self.beside(spec.program), self.pool, name=name)
                created = int((opened.folder / "program.json").stat().st_mtime)
                return self._program(opened, created, characters)
            if spec.agent is not None:
                return self._program(open_agent(self.beside(spec.agent), self.pool, name), now, characters)
            if spec.model is not None:
                return ModelEndpoint(self.pool.model(spec.model), now, name)
        except OSError as error:
            raise InputError(f"endpoints.{name}: {error.strerror}", file=self.file, remedy="correct the path") from None
        except InputError as error:
            raise InputError(f"endpoints.{name}: {error.message}", file=self.file, remedy=error.remedy) from None
        assert spec.url is not None
        assert spec.name is not None
        url = check_url(spec.url.rstrip("/"))
        refuse_plain(url, self.pool.settings)
        return RemoteEndpoint(name, now, url, spec.name, self.connections, self._key(url), _price(spec))

    def _key(self, url: str) -> str:
        variable = named_key(url, self.pool.settings)
        if variable and not os.environ.get(variable):
            raise InputError(
                f"the key of {url} is to be in {variable}, which is not set", remedy=f"type: export {variable}=..."
            )
        return os.environ[variable] if variable else ""

    def _program(self, opened: Opened, created: int, characters: int) -> ProgramEndpoint:
        return ProgramEndpoint(opened, created, characters=characters, trail=trail_of(opened, self.store))

    def beside(self, path: Path) -> Path:
        """A path of the file, from where the file lies."""
        return path if path.is_absolute() else self.file.parent / path

    def _member(self, name: str, spec: EndpointSpec, endpoint: Endpoint) -> RouteMember:
        model = endpoint.model
        context = spec.context or (model.capabilities.context if model is not None else 0)
        price = _price(spec)
        if price is None and model is not None and not model.capabilities.local:
            price = prices.find(model.name, str(self.pool.settings["prices"]))
        return RouteMember(name, endpoint, spec.weight, context, price)

    def _chain(self, id: str, spec: GatewaySpec, members: Mapping[str, RouteMember], made: dict[str, Chain]) -> Chain:
        if id in made:
            return made[id]
        route = spec.routes[id]
        links: list[Link] = []
        for link in route.links:
            if link == KEPT:
                links.append(Kept())
            elif link == REFUSAL:
                links.append(Apology(route.refusal))
            else:
                names = [link] if isinstance(link, str) else link
                for name in names:
                    if name not in members:
                        inner = self._chain(name, spec, members, made)
                        members = {**members, name: RouteMember(name, inner)}
                links.append(_route([members[name] for name in names], route))
        self._refuse_keeping(id, route, links)
        created = max(member.endpoint.created for link in links if isinstance(link, Route) for member in link.members)
        made[id] = Chain(id, created, links, self.cache, route.cache or 0.0)
        return made[id]

    def _refuse_keeping(self, id: str, route: RouteSpec, links: list[Link]) -> None:
        """An agent acts: an answer that is given again would leave out what it did."""
        if not (route.cache or KEPT in route.links):
            return
        for member in (member for link in links if isinstance(link, Route) for member in link.members):
            endpoint = member.endpoint
            if isinstance(endpoint, ProgramEndpoint) and endpoint.opened.program.kind == "agent":
                raise InputError(
                    f"routes.{id}: {member.name} is an agent, whose answers cannot be kept: it acts",
                    file=self.file,
                    remedy="leave out cache and cached",
                )


def adapter_of(model: str) -> Path | None:
    """The folder of the adapter in a model's name (provider:name@DIR); None: there is none."""
    _, at, folder = model.partition("@")
    return Path(folder) if at and Path(folder).is_dir() else None


def _route(members: list[RouteMember], spec: RouteSpec) -> Route:
    for member in members:
        member.breaker = Breaker(spec.breaker.failures, spec.breaker.seconds)
    times = Timeouts(spec.timeouts.first, spec.timeouts.between, spec.timeouts.whole)
    return Route(members, spec.balance, times, spec.retries)


def _price(spec: EndpointSpec) -> Price | None:
    if spec.price is None:
        return None
    return Price(spec.price.prompt, spec.price.completion, spec.price.cached, "gateway")
