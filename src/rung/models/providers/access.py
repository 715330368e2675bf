"""Where a hosted model is asked, and which key goes there.

A model's name may carry an address, and names stand in files that come from anywhere: task files, program folders,
settings of a project. So a vendor's key goes to that vendor's host alone, over TLS. Another address gets a key only
when the person says so: in the setting ``keys`` (user file, RUNG_KEYS or a caller, never the project's file), or by the
vendor's own variable for an address (OPENAI_BASE_URL and its like), which stands in the same environment as the key.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from rung.core.errors import AuthError, InputError
from rung.core.settings import Settings

_URL = re.compile(
    r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?((?:/[\w.~%!$&'()*+,;=:@-]*)*)", re.I | re.A
)
_PLAIN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "anthropic-beta",
        "anthropic-version",
        "connection",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)
_KEY_HEADERS = frozenset({"authorization", "x-api-key", "x-goog-api-key"})


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor's API. ``host`` alone gets a key of ``keys``; ``address`` is the variable by which its SDK is told
    another URL."""

    name: str
    host: str
    keys: tuple[str, ...]
    address: str


@dataclass(frozen=True, slots=True)
class Access:
    """``url`` is empty for the vendor's own address, ``variables`` are where the key is looked for (none: no key is
    sent).

    ``own``: the vendor's host, or the person's own choice of address; whatever else the SDK takes from the environment
    (organization, project, headers) goes only there. ``required``: without a key nothing is asked.
    """

    vendor: Vendor
    url: str = ""
    variables: tuple[str, ...] = ()
    own: bool = True
    required: bool = True

    @property
    def remedy(self) -> str:
        """What to type when the address refuses the key, or wants one."""
        if self.variables:
            return f"check the key in {' or '.join(self.variables)}"
        return (
            f"no key was sent, since a file may name any address; to send one, name its variable: "
            f"RUNG_KEYS='{self.url}={self.vendor.keys[0]}'"
        )

    def key(self, name: str) -> str:
        """The key for ``name``, empty where none is sent. Raises AuthError that names the variable to set."""
        for variable in self.variables:
            if value := os.environ.get(variable, "").strip():
                return value
        if self.variables and self.required:
            raise AuthError(
                f"{name} needs a key and {' or '.join(self.variables)} is not set",
                remedy=f"type: export {self.variables[0]}=...",
            )
        return ""

    def client_options(self, *, blocking: bool = False) -> dict[str, Any]:
        """Arguments of an httpx client: no redirect is followed, since it would take the key along, and an address that
        is not ``own`` gets the headers of the request, and the key's only where there is a key."""
        options: dict[str, Any] = {"follow_redirects": False}
        if not self.own:
            key = self.key(self.url)

            def scrub(request: Any) -> None:
                for header, value in list(request.headers.items()):
                    is_key = header in _KEY_HEADERS and bool(key) and value.removeprefix("Bearer ") == key
                    if header not in _PLAIN_HEADERS and not is_key:
                        del request.headers[header]

            async def scrub_async(request: Any) -> None:
                scrub(request)

            options["event_hooks"] = {"request": [scrub if blocking else scrub_async]}
        return options


def find_access(vendor: Vendor, given: str, settings: Settings) -> Access:
    """Where to ask, for the address in a model's name (empty: none). Raises InputError for an address that cannot be
    read, or that would send texts over a network in the clear."""
    chosen = os.environ.get(vendor.address, "").strip()
    if not (given or chosen):
        return Access(vendor, "", vendor.keys)
    url = check_url(given or chosen)
    refuse_plain(url, settings)
    if named := named_key(url, settings):
        return Access(vendor, url, (named,), own=False)
    if urlsplit(url).netloc in (vendor.host, f"{vendor.host}:443") and url.startswith("https:"):
        return Access(vendor, url, vendor.keys)
    if chosen and within(url, check_url(chosen)):
        return Access(vendor, url, vendor.keys, required=False)
    return Access(vendor, url, own=False, required=False)


def server_key(url: str, variable: str) -> str | None:
    """The key of a database's server, whose address may stand in a collection's folder: that of ``variable`` for a
    server on this machine, that of the variable which the setting ``keys`` names for another one; None: no key."""
    place = re.sub(r"(?<=://)[^/]*@", "", url)
    name = named_key(place, Settings()) or (variable if is_loopback(place) else "")
    return os.environ.get(name) or None if name else None


def named_key(url: str, settings: Settings) -> str:
    """The variable that the setting ``keys`` names for an address, or for one that it lies in; empty: none."""
    keys: Mapping[str, str] = settings["keys"]
    if not keys:
        return ""
    url = check_url(url)
    found = [(len(check_url(place)), name) for place, name in keys.items() if within(url, check_url(place))]
    return max(found)[1] if found else ""


def within(url: str, place: str) -> bool:
    """Whether an address is ``place``, or a path inside it."""
    return url == place or url.startswith(place + "/")


def check_url(url: str) -> str:
    """The address as it is asked: scheme and host in lower case, no slash at the end. Raises InputError for one that
    carries a user or password, or whose host could be read in two ways."""
    if re.match(r"https?://[^/]*@", url, re.I):
        raise InputError(
            "an address must not carry a user or a password",
            remedy="put the key into a variable and name it: RUNG_KEYS='URL=VARIABLE'",
            code="address",
        )
    match = _URL.fullmatch(url)
    if match is None or (match[3] and int(match[3]) > 65535) or re.search(r"/(\.|%2e){1,2}(/|$)", match[4], re.I):
        raise InputError(
            f"got address {url!r}, expected http(s)://host[:port]/path", remedy="correct the address", code="address"
        )
    port = f":{match[3]}" if match[3] else ""
    return f"{match[1].lower()}://{match[2].lower()}{port}{match[4].rstrip('/')}"


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_plain(url: str, settings: Settings) -> None:
    """Raise InputError for plain HTTP to another machine, unless the person allows it."""
    if url.startswith("http:") and not is_loopback(url) and not settings["plain_http"]:
        raise InputError(
            f"{url} is plain HTTP to another machine: everybody on the way can read the texts and the key",
            remedy="use https://, or allow it: RUNG_PLAIN_HTTP=yes",
            code="plain-http",
        )
