"""A real server on a socket: uvicorn with signals that drain and an exit code that says how it ended."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from rung.core.errors import InputError, RungError
from rung.serving.access.keys import VARIABLE
from rung.serving.http.limits import Limits
from rung.serving.http.process.protocol import LimitedProtocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

logger = logging.getLogger("rung.serving")

LINGER = 1.0


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int, *, locked: bool = False) -> socket.socket:
    """A bound socket. Raises InputError for an address that cannot be bound, or a public one whose door is not
    ``locked``."""
    host = host.removeprefix("[").removesuffix("]")  # an IPv6 address as it stands in a URL
    if not is_loopback(host) and not locked:
        raise InputError(
            f"{host} can be reached from other machines, and there are no API keys",
            remedy=f"make a key: rung serve --new-key --key-file FILE, then add --key-file FILE (or set {VARIABLE}=FILE)",
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(found[0], found[1])
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(found[4])
    except OSError as error:
        raise InputError(
            f"cannot listen on {_at(host, port)}: {error.strerror}", remedy="name another: --port 0"
        ) from None
    bound.listen(1024)
    bound.setblocking(False)
    return bound


def take_over(fd: int) -> socket.socket:
    """The listening socket behind a file descriptor. Raises InputError for one that is none."""
    try:
        bound = socket.socket(fileno=os.dup(fd))
        if not bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(0, "it does not listen")
    except OSError as error:
        raise InputError(f"--fd {fd} is no listening socket: {error.strerror}", remedy="leave --fd out") from None
    bound.setblocking(False)
    return bound


def address(bound: socket.socket) -> str:
    """The base URL of a bound socket, as a client on this machine would write it."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://{_at(host, port)}/v1"


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Server(uvicorn.Server):
    """Drains on SIGTERM and SIGINT; a second signal stops at once. Ends by returning, not by raising the signal
    again."""

    def __init__(self, app: ASGIApp, limits: Limits, linger: float = LINGER) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(limits.grace)),
            timeout_keep_alive=75,
            lifespan="on",
            http=LimitedProtocol,
            ws="none",
        )
        super().__init__(config)
        self._state: Any = getattr(app, "rung", None)
        self._linger = linger

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
        self.drain()

    def drain(self) -> None:
        """Take no new connections, finish what is at work, then end."""
        if self._state is not None:
            self._state.draining = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Give connections that are kept open LINGER seconds before they are closed: a request may be on its way on
        one. It is answered, with ``Connection: close``. (uvicorn closes them at once, and such a request is lost.)"""
        for server in self.servers:
            server.close()
        self.server_state.draining = True  # type: ignore[attr-defined]
        for connection in list(self.server_state.connections):
            cast(LimitedProtocol, connection).last_answer()
        ends = asyncio.get_running_loop().time() + self._linger
        while self.server_state.connections and asyncio.get_running_loop().time() < ends and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


@asynccontextmanager
async def running(app: ASGIApp, bound: socket.socket, limits: Limits | None = None) -> AsyncIterator[Server]:
    """The application served on ``bound`` inside this event loop; drained at the end. Raises RungError if it cannot
    start."""
    server = Server(app, limits or Limits(), linger=0.0)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        while not server.started:
            if task.done():
                task.result()
                raise RungError("the server ended before it had started", remedy="see its log")
            await asyncio.sleep(0.01)
        yield server
    finally:
        server.drain()
        await task
