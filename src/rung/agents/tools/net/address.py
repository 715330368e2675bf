"""HTTP for tools: only to public addresses, and to those that the person named.

The name of a host is looked up once and the connection goes to the address that was checked, so that a name whose
answer changes between the check and the connection (DNS rebinding) gains nothing. Every redirect is checked again.
Proxies of the environment are not used.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from rung.core.errors import InputError, RungError

BYTES = 4 << 20
"""Bytes of a response's body that are read."""
SECONDS = 20.0
"""For a whole exchange, with its redirects."""
_HOPS = 5
_EMBEDDED = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "::/96", "2001::/32")))
"""Addresses of IPv6 that lead to one of IPv4."""
_METADATA = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"))
)
"""Where clouds hand out a machine's credentials: not even by name."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came back: ``body`` is cut at BYTES, header names are in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Reach:
    """Where requests may go. ``named`` are places (host, port) that the person wrote down: these may be private."""

    named: frozenset[tuple[str, int]] = field(default_factory=frozenset)

    @classmethod
    def of(cls, *urls: str) -> Reach:
        return cls(frozenset(place(url) for url in urls if url))

    def addresses(self, url: str) -> list[tuple[int, Any]]:
        """The family and socket address of each address of the URL's host that may be reached. Raises InputError (code
        ``address``)."""
        host, port = place(url)
        found = _literal(host, port) or _looked_up(url, host, port)
        for _, where in found:
            address = ipaddress.ip_address(str(where[0]).partition("%")[0])
            mapped = getattr(address, "ipv4_mapped", None) or address
            if mapped in _METADATA or ((host, port) not in self.named and not _public(mapped)):
                raise _refused(url, f"{where[0]} is no public address")
        return found


def _literal(host: str, port: int) -> list[tuple[int, Any]]:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return []
    return [(socket.AF_INET, (host, port))] if address.version == 4 else [(socket.AF_INET6, (host, port, 0, 0))]


def _looked_up(url: str, host: str, port: int) -> list[tuple[int, Any]]:
    try:
        return [(family, where) for family, _, _, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        raise _refused(url, "its host is not known") from None


def _public(address: Any) -> bool:
    if address.version == 6 and any(address in network for network in _EMBEDDED):
        return False
    return bool(address.is_global) and not address.is_multicast


def place(url: str) -> tuple[str, int]:
    """Host and port of a URL. Raises InputError (code ``address``) for one that is not http or https, or names a
    user."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused(url, "it cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _refused(url, "only http:// and https:// are asked")
    if parts.username is not None or "\\" in url or any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise _refused(url, "it has a user, a space or a control character in it")
    return parts.hostname.rstrip(".").lower(), port or (443 if parts.scheme == "https" else 80)


def _refused(url: str, why: str) -> InputError:
    return InputError(f"{url[:200]} is not asked: {why}", remedy="ask a public web address", code="address")


def fetch(
    url: str, reach: Reach, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes | None = None,
    seconds: float = SECONDS,
) -> Fetched:  # fmt: skip
    """Ask and follow redirects, each checked. A header ``Authorization`` goes to the first host only.

    Raises InputError (code ``address``) for where nothing may go, RungError (code ``unreachable``) when nothing comes
    back in time.
    """
    until = time.monotonic() + seconds
    sent = dict(headers or {})
    for _ in range(_HOPS + 1):
        page = _ask(url, reach, (method, sent, body), until)
        target = page.headers.get("location", "")
        if page.status not in (301, 302, 303, 307, 308) or not target:
            return page
        try:
            following = urljoin(url, target)
        except ValueError:
            raise _refused(target, "it cannot be read") from None
        if place(following) != place(url):
            sent = {name: value for name, value in sent.items() if name.lower() in ("accept", "user-agent")}
        if page.status in (301, 302, 303) and method != "HEAD":
            method, body = "GET", None
        url = following
    raise RungError(f"{url[:200]}: more than {_HOPS} redirects", code="unreachable")


def _ask(url: str, reach: Reach, message: tuple[str, Mapping[str, str], bytes | None], until: float) -> Fetched:
    host, port = place(url)
    parts = urlsplit(url)
    method, headers, body = message
    last: Exception | None = None
    for family, where in reach.addresses(url):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as link:
                link.settimeout(max(0.1, until - time.monotonic()))
                link.connect(where)
                joined = (
                    ssl.create_default_context().wrap_socket(link, server_hostname=host)
                    if parts.scheme == "https"
                    else link
                )
                connection = http.client.HTTPConnection(parts.hostname or host, port)
                connection.sock = joined
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                given = {"User-Agent": "rung", "Accept-Encoding": "identity", **headers}
                connection.request(method, target, body=body, headers=given)
                response = connection.getresponse()
                read = _read(response, joined, until)
                names = {name.lower(): value for name, value in response.getheaders()}
                return Fetched(url, response.status, names, read)
        except (OSError, http.client.HTTPException) as error:
            last = error
        if time.monotonic() > until:
            break
    why = "nothing came back in time" if isinstance(last, TimeoutError) else str(last)[:200]
    raise RungError(f"{url[:200]} cannot be reached: {why}", code="unreachable") from None


def _read(response: http.client.HTTPResponse, link: socket.socket, until: float) -> bytes:
    parts = bytearray()
    while len(parts) < BYTES:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        link.settimeout(left)
        piece = response.read1(min(1 << 16, BYTES - len(parts)))
        if not piece:
            break
        parts += piece
    return bytes(parts)
