"""An OpenAPI document's operations are tools; a call that does not fit never leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rung.agents.tools import open_tools
from rung.core.errors import InputError, RungError
from rung.core.protocols import Tool
from tests.agents.tools.net.servers import Asked, web

DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Library", "version": "1"},
    "servers": [{"url": "https://library.example/v1"}],
    "paths": {
        "/books/{isbn}": {
            "parameters": [{"$ref": "#/components/parameters/Isbn"}],
            "get": {
                "operationId": "getBook",
                "summary": "Look a book up.",
                "parameters": [
                    {"name": "fields", "in": "query", "schema": {"type": "array", "items": {"enum": ["title", "year"]}}},
                    {"name": "X-Branch", "in": "header", "schema": {"type": "integer", "minimum": 0, "exclusiveMinimum": True}},
                    {"name": "full", "in": "query", "schema": {"type": "boolean"}},
                ],
            },
            "put": {
                "operationId": "put-book",
                "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Book"}}}},
            },
        },
        "/loans": {"post": {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}},
    },
    "components": {
        "parameters": {"Isbn": {"name": "isbn", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 20}}},
        "schemas": {
            "Book": {
                "type": "object",
                "required": ["title"],
                "properties": {
                    "title": {"type": "string"},
                    "nullable": {"type": "integer", "nullable": True},
                    "sequel": {"$ref": "#/components/schemas/Book"},
                },
                "additionalProperties": False,
            }
        },
    },
}  # fmt: skip


def opened(folder: Path, document: Any, **options: Any) -> dict[str, Tool]:
    path = folder / "api.yaml"
    path.write_text(yaml.safe_dump(document) if not isinstance(document, str) else document)
    return {tool.name: tool for tool in open_tools({"name": "openapi", "target": str(path), **options})}


async def test_operations_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBRARY_TOKEN", "t0ken")
    with web(lambda asked: (200, {}, json.dumps({"asked": asked.path}).encode())) as served:
        tools = opened(tmp_path, DOCUMENT, server=served.url, headers={"Authorization": "LIBRARY_TOKEN"})
        assert {name: tool.effect for name, tool in tools.items()} == {
            "getBook": "pure", "put_book": "keyed", "post_loans": "once",
        }  # fmt: skip
        told = await tools["getBook"].call(
            {"isbn": "9/7 8", "fields": ["title", "year"], "X-Branch": 2, "full": True}, key="k1"
        )
        assert json.loads(told) == {"asked": "/books/9%2F7%208?fields=title&fields=year&full=true"}
        assert served.asked[0].headers["x-branch"] == "2"
        assert served.asked[0].headers["authorization"] == "t0ken"
        assert "t0ken" not in repr(tools["getBook"])
        await tools["put_book"].call(
            {"isbn": "1", "body": {"title": "D", "nullable": None, "sequel": {"title": "E"}}}, key="k2"
        )
        assert (served.asked[1].method, json.loads(served.asked[1].body)["sequel"]) == ("PUT", {"title": "E"})
        assert served.asked[1].headers["idempotency-key"] == "k2"


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("getBook", {}), ("getBook", {"isbn": 5}), ("getBook", {"isbn": "x" * 21}), ("getBook", {"isbn": ".."}), ("getBook", {"isbn": ""}),
    ("getBook", {"isbn": "1", "fields": ["price"]}), ("getBook", {"isbn": "1", "fields": "title"}),
    ("getBook", {"isbn": "1", "X-Branch": 0}), ("getBook", {"isbn": "1", "X-Branch": "a\r\nb"}), ("getBook", {"isbn": "1", "more": 1}),
    ("put_book", {"isbn": "1"}), ("put_book", {"isbn": "1", "body": {}}), ("put_book", {"isbn": "1", "body": {"title": None}}),
    ("put_book", {"isbn": "1", "body": {"title": "a", "sequel": {"title": 3}}}), ("put_book", {"isbn": "1", "body": {"title": "a", "x": 1}}),
]  # fmt: skip


async def test_what_does_not_fit_never_leaves(tmp_path: Path) -> None:
    with web(lambda _: (200, {}, b"{}")) as served:
        tools = opened(tmp_path, DOCUMENT, server=served.url)
        for name, arguments in WRONG:
            with pytest.raises(InputError) as raised:
                await tools[name].call(arguments, key="")
            assert raised.value.code == "arguments"
        assert not served.asked


async def test_an_error_of_the_server_is_told(tmp_path: Path) -> None:
    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        return (404, {}, b"no such book") if asked.method == "GET" else (204, {}, b"")

    with web(answer) as served:
        tools = opened(tmp_path, DOCUMENT, server=served.url)
        with pytest.raises(RungError) as raised:
            await tools["getBook"].call({"isbn": "1"}, key="")
        assert raised.value.code == "http-404"
        assert await tools["post_loans"].call({"body": {}}, key="") == "done (204)"


async def test_a_documents_own_server_may_not_be_private(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:9/", "http://169.254.169.254/latest"):
        tools = opened(tmp_path, {**DOCUMENT, "servers": [{"url": url}]})
        with pytest.raises(InputError) as raised:
            await tools["getBook"].call({"isbn": "1"}, key="")
        assert raised.value.code == "address"


def changed(**parts: Any) -> dict[str, Any]:
    return {**DOCUMENT, **parts}


def schemas(**made: Any) -> dict[str, Any]:
    return changed(components={**DOCUMENT["components"], "schemas": {**DOCUMENT["components"]["schemas"], **made}})


BAD: dict[str, Any] = {
    "swagger": {"swagger": "2.0", "paths": {}},
    "no document": [1, 2],
    "no yaml": "a: [",
    "no paths": changed(paths={}),
    "a reference out": schemas(Book={"$ref": "https://example.org/x.json#/Book"}),
    "a reference to a file": schemas(Book={"$ref": "other.yaml#/Book"}),
    "a reference nowhere": schemas(Book={"$ref": "#/components/schemas/Nowhere"}),
    "a circle": schemas(Book={"$ref": "#/components/schemas/B"}, B={"$ref": "#/components/schemas/Book"}),
    "no server": changed(servers=[]),
    "a server with variables": changed(servers=[{"url": "https://{host}/"}]),
    "a file's server": changed(servers=[{"url": "file:///etc"}]),
    "a path without its parameter": changed(paths={"/a/{b}": {"get": {}}}),
    "a cookie": changed(paths={"/a": {"get": {"parameters": [{"name": "c", "in": "cookie", "required": True}]}}}),
    "a form": changed(paths={"/a": {"post": {"requestBody": {"content": {"text/plain": {}}}}}}),
}


@pytest.mark.parametrize("name", BAD)
def test_documents_that_cannot_be_used_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as raised:
        opened(tmp_path, BAD[name])
    assert raised.value.code == "openapi"


async def test_a_schema_that_never_ends_is_said(tmp_path: Path) -> None:
    made = schemas(Book={"allOf": [{"$ref": "#/components/schemas/Book"}]})
    with pytest.raises(InputError) as raised:
        await opened(tmp_path, made)["put_book"].call({"isbn": "1", "body": {}}, key="")
    assert raised.value.code == "arguments"


def test_operations_are_chosen_and_secrets_must_be_there(tmp_path: Path) -> None:
    assert set(opened(tmp_path, DOCUMENT, only=["getBook"])) == {"getBook"}
    for options in ({"only": ["lend"]}, {"headers": {"A": "ABSENT_VARIABLE_X"}}):
        with pytest.raises(InputError):
            opened(tmp_path, DOCUMENT, **options)
    with pytest.raises(InputError):
        open_tools("openapi:absent.yaml")
