"""Every tool keeps the same contract: a schema that is one, a sentence for a bad call, text for a good one."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rung.agents.tools import open_tools
from rung.core.errors import InputError, RungError
from rung.core.parts import registry
from rung.core.protocols import Closing, Tool
from rung.core.types import Document
from rung.retrieval.collection.collection import Collection


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE a (b)")
    (tmp_path / "mine.py").write_text("def double(n: int) -> int:\n    'Twice.'\n    return 2 * n\n")
    theirs = (
        "from langchain_core.tools import tool\n@tool\ndef double(n: int) -> int:\n    'Twice.'\n    return 2 * n\n"
    )
    (tmp_path / "theirs.py").write_text(theirs)
    document = "openapi: 3.1.0\nservers: [{url: 'https://example.org'}]\npaths: {/a: {get: {operationId: look}}}\n"
    (tmp_path / "api.yaml").write_text(document)
    monkeypatch.setenv("RUNG_HOME", str(tmp_path))
    with Collection.create(tmp_path / "indexes" / "handbook", embedder=None) as collection:
        collection.add([Document("paint.md", "Wet paint is green. Dry paint is grey.")])
    return {
        "calculator": "calculator",
        "code": "code",
        "files": {"name": "files", "target": str(tmp_path), "write": True},
        "sql": f"sql:{tmp_path / 'a.db'}",
        "web": "web:http://127.0.0.1:8888",
        "openapi": f"openapi:{tmp_path / 'api.yaml'}",
        "mcp": f"mcp:{sys.executable} -m rung tool serve calculator",
        "index": "index:handbook",
        "calendar": {"name": "calendar", "target": str(tmp_path / "mine.ics"), "write": True},
        "python": f"python:{tmp_path / 'mine.py'}:double",
        "langchain": f"langchain:{tmp_path / 'theirs.py'}:double",
    }


@pytest.mark.parametrize("name", sorted(registry.table("tool")))
async def test_the_contract(name: str, entries: dict[str, Any]) -> None:
    try:
        tools = open_tools(entries[name])
    except RungError as error:
        if error.code in ("no-sandbox", "no-openat"):
            pytest.skip(error.message)
        raise
    assert tools
    for tool in tools:
        assert isinstance(tool, Tool)
        assert tool.name.isidentifier()
        assert len(tool.description) > 3
        assert tool.effect in ("pure", "keyed", "once")
        assert tool.returns in ("trusted", "untrusted")
        jsonschema.Draft202012Validator.check_schema(dict(tool.schema))
        assert tool.schema["type"] == "object"
        wrong: dict[str, Any] = {key: [] for key in tool.schema["properties"]}
        for bad in ({"nobody": 1}, wrong):
            if bad:
                with pytest.raises(RungError):
                    await tool.call(bad, key="k")
        if isinstance(tool, Closing):
            await tool.close()


async def test_passages_name_their_document(entries: dict[str, Any]) -> None:
    (index,) = open_tools(entries["index"])
    assert (
        await index.call({"query": "dry paint"}, key="") == "[1] paint.md 0-38: Wet paint is green. Dry paint is grey."
    )
    assert await index.call({"query": "zebra"}, key="") == "nothing was found"
    for bad in ("index", "index:handbok", "index:../x"):
        with pytest.raises(InputError):
            open_tools(bad)


async def test_entries_are_read() -> None:
    (calculator,) = open_tools("calculator")
    assert await calculator.call({"expression": "10**20 + 1"}, key="") == "100000000000000000001"
    assert await calculator.call({"expression": "1/3"}, key="") == "1/3 (about 0.3333333333)"
    for bad in ("calculater", "calculator:x", {"name": "calculator", "colour": "red"}, {}, {"name": "files"}):
        with pytest.raises(InputError):
            open_tools(bad)


async def test_code_runs_in_a_sandbox() -> None:
    try:
        (code,) = open_tools({"name": "code", "seconds": 0.5})
    except RungError as error:
        pytest.skip(error.message)
    assert await code.call({"code": "print(6 * 7)\n[1]"}, key="") == "42\n[1]"
    assert "line 2" in await code.call({"code": "x = 1\ny = x / 0"}, key="")
    assert "took too long" in await code.call({"code": "while True: pass"}, key="")
    assert await code.call({"code": "x = 1"}, key="") == "(nothing was printed)"
    with pytest.raises(InputError):
        open_tools("code:mounty")
