"""Search over a SearXNG server on loopback; private and odd addresses are not asked."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from rung.agents.tools import open_tools
from rung.agents.tools.net import address
from rung.agents.tools.net.address import Reach, fetch, place
from rung.core.errors import InputError, RungError
from tests.agents.tools.net.servers import Asked, web

RESULTS = {
    "results": [
        {"url": "https://example.org/a", "title": "A  page", "content": "one\ntwo", "engine": "x"},
        {"url": "javascript:alert(1)", "title": "bad", "content": ""},
        {"url": "https://example.org/b", "title": None, "content": None},
        "no result",
    ]
}


async def test_results_are_numbered_and_named() -> None:
    with web(lambda _: (200, {}, json.dumps(RESULTS).encode())) as served:
        tool, _ = open_tools(f"web:{served.url}/")
        told = await tool.call({"query": "a & b", "count": 2}, key="")
        assert told == "[1] A page <https://example.org/a>\none two\n[2]  <https://example.org/b>"
        assert served.asked[0].path == "/search?q=a+%26+b&format=json"
    assert (tool.effect, tool.returns, tool.volatile) == ("pure", "untrusted", True)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, b""),
        (500, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b"[" * 100_000),
        (200, b'{"results": 3}'),
    ],
)
async def test_other_answers_are_said(status: int, body: bytes) -> None:
    with web(lambda _: (status, {}, body)) as served:
        tool, _ = open_tools(f"web:{served.url}")
        with pytest.raises(RungError) as raised:
            await tool.call({"query": "x"}, key="")
    assert raised.value.code == "unreachable"


async def test_a_server_that_is_away_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    tool, _ = open_tools(f"web:http://127.0.0.1:{port}")
    with pytest.raises(RungError) as raised:
        await tool.call({"query": "x"}, key="")
    assert raised.value.code == "unreachable"


async def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RungError) as raised:
            fetch(url, Reach.of(url), seconds=0.2)
    assert raised.value.code == "unreachable"


PRIVATE = [
    "http://127.0.0.1/", "http://10.0.0.1/", "http://192.168.1.1/", "http://172.16.0.9/", "http://169.254.1.1/", "http://0.0.0.0/",
    "http://[::1]/", "http://[fe80::1]/", "http://[fc00::1]/", "http://[::ffff:10.0.0.1]/", "http://[64:ff9b::a00:1]/",
    "http://[2002:7f00:1::]/", "http://169.254.169.254/latest/meta-data", "http://100.64.0.1/", "http://224.0.0.1/",
    "http://255.255.255.255/", "http://[ff02::1]/", "http://localhost/",
]  # fmt: skip
ODD = [
    "file:///etc/passwd", "ftp://example.org/", "gopher://x/", "http://", "//example.org", "http://user@example.org/",
    "http://exa mple.org/", "http://example.org\\@127.0.0.1/", "http://example.org:99999/", "http://[::1/", "javascript:1", "",
    "http://example.org/\r\nHost: x",
]  # fmt: skip


def numeric(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
    """Looks numbers up as the system would, and asks no name server."""
    if host == "localhost":
        host = "127.0.0.1"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return [(family, socket.SOCK_STREAM, 6, "", (host, port))]


@pytest.mark.parametrize("url", [*PRIVATE, *ODD])
def test_private_and_odd_addresses_are_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", numeric)
    with pytest.raises(InputError) as raised:
        fetch(url, Reach())
    assert raised.value.code == "address"


def test_metadata_is_not_asked_even_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", numeric)
    url = "http://169.254.169.254/"
    with pytest.raises(InputError):
        Reach.of(url).addresses(url)
    assert Reach.of("http://10.0.0.1:80/").addresses("http://10.0.0.1/x")
    assert Reach().addresses("http://93.184.216.34/")


def test_a_redirect_is_checked_again() -> None:
    for target in ("http://127.0.0.1:1/", "http://169.254.169.254/", "file:///etc/passwd"):
        with web(lambda _, target=target: (302, {"Location": target}, b"")) as served:  # type: ignore[misc]
            with pytest.raises(InputError) as raised:
                fetch(served.url, Reach.of(served.url))
            assert raised.value.code == "address"


def test_a_redirect_takes_no_secret_along() -> None:
    with web(lambda _: (200, {}, b"there")) as second:

        def answer(_: Asked) -> tuple[int, dict[str, str], bytes]:
            return 303, {"Location": f"{second.url}/x"}, b""

        with web(answer) as first:
            reach = Reach.of(first.url, second.url)
            page = fetch(first.url, reach, method="POST", headers={"Authorization": "secret"}, body=b"x")
    assert (page.status, page.text) == (200, "there")
    assert first.asked[0].headers["authorization"] == "secret"
    assert "authorization" not in second.asked[0].headers
    assert second.asked[0].method == "GET"


def test_redirects_have_an_end() -> None:
    with web(lambda _: (302, {"Location": "/again"}, b"")) as served:
        with pytest.raises(RungError):
            fetch(served.url, Reach.of(served.url))
        assert len(served.asked) == 6


def test_the_address_that_was_checked_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is checked and private when it is looked up again (DNS rebinding)."""
    with web(lambda _: (200, {}, b"private")) as served:
        answers = iter(["93.184.216.34", "127.0.0.1"])
        connected: list[Any] = []

        def rebinding(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

        def connect(self: socket.socket, where: Any) -> None:
            connected.append(where)
            raise ConnectionRefusedError

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        monkeypatch.setattr(socket.socket, "connect", connect)
        with pytest.raises(RungError) as raised:
            fetch(f"http://rebind.example:{place(served.url)[1]}/", Reach())
    assert raised.value.code == "unreachable"
    assert [where[0] for where in connected] == ["93.184.216.34"]
    assert not served.asked


def test_a_large_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "BYTES", 1000)
    with web(lambda _: (200, {}, b"x" * 5000)) as served:
        assert len(fetch(served.url, Reach.of(served.url)).body) == 1000


def test_a_server_must_be_named() -> None:
    for target in ("web", "web:ftp://x", "web:localhost"):
        with pytest.raises(InputError):
            open_tools(target)


PAGE = b"<html><head><title>t</title><script>alert(1)</script></head><body><h1>Kettles</h1><p>They boil at 100 degrees.</p></body></html>"


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        ("text/html; charset=utf-8", PAGE, "They boil at 100 degrees."),
        ("text/plain", b"plain words", "plain words"),
        ("text/html", b"", "(no text)"),
    ],
)
async def test_a_page_is_read_and_names_its_address(kind: str, body: bytes, shown: str) -> None:
    with web(lambda _: (200, {"content-type": kind}, body)) as served:
        _, tool = open_tools(f"web:{served.url}")
        told = await tool.call({"url": f"{served.url}/page"}, key="")
        assert told.startswith(f"<{served.url}/page> part 1 of 1")
        assert shown in told
        assert "alert" not in told
        with pytest.raises(RungError) as raised:
            await tool.call({"url": f"{served.url}/page", "part": 2}, key="")
        assert raised.value.code == "no-part"
    assert (tool.effect, tool.returns) == ("pure", "untrusted")


async def test_what_is_no_page_or_lies_elsewhere_is_not_read() -> None:
    with web(lambda _: (200, {"content-type": "image/png"}, b"x")) as served, web(lambda _: (200, {}, PAGE)) as other:
        _, tool = open_tools(f"web:{served.url}")
        with pytest.raises(RungError) as raised:
            await tool.call({"url": served.url}, key="")
        assert raised.value.code == "no-text"
        with pytest.raises(InputError):  # a private address that the person did not write down
            await tool.call({"url": f"{other.url}/secret"}, key="")
        assert other.asked == []


def test_only_an_address_that_was_seen_can_be_read() -> None:
    from rung.agents.calls.seen import narrow, unseen

    _, tool = open_tools("web:http://127.0.0.1:1")
    seen = [
        ("request", "Look it up"),
        ("event 3", "[1] A page <https://example.org/a>\ntext, see https://example.org/b."),
    ]
    narrowed = narrow(tool.schema, seen)
    assert narrowed is not None
    assert narrowed["properties"]["url"]["enum"] == ["https://example.org/a", "https://example.org/b"]
    assert narrow(tool.schema, seen[:1]) is None
    assert unseen(tool.schema, {"url": "https://evil.example/?q=secret"}, seen)
