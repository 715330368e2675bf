"""``rung tool``: every tool can be looked at and tried from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError, RungError
from rung.core.parts import registry

CLI = CliRunner()


def rung(*arguments: str) -> str:
    done = CLI.invoke(app, ["tool", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_every_kind_is_listed() -> None:
    listed = json.loads(rung("list", "--json"))
    assert {item["name"] for item in listed} == set(registry.table("tool"))
    for item in listed:
        assert item["about"].startswith(item["name"])


def test_a_tool_is_shown_and_called(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    assert "expression: string" in rung("show", "calculator")
    assert rung("call", "calculator", '{"expression": "2/3 + 1/3"}') == "1\n"
    assert [item["name"] for item in json.loads(rung("show", f"files:{tmp_path}", "--json"))] == [
        "files_list", "files_read", "files_search",
    ]  # fmt: skip
    assert rung("call", f"files:{tmp_path}", '{"path": "a.txt"}', "--name", "files_read") == "hello\n"
    arguments = '{"path": "b.txt", "content": "x"}'
    rung("call", f"files:{tmp_path}", arguments, "--name", "files_write", "--set", "write=true")
    assert (tmp_path / "b.txt").read_text() == "x"


@pytest.mark.parametrize(
    "arguments",
    [
        ("call", "calculator", "{"), ("call", "calculator", "[]"), ("call", "calculator", '{"expression": 5}'),
        ("call", "calculater", "{}"), ("show", "sql:absent.db"), ("call", "calculator", "{}", "--name", "x"),
        ("show", "calculator", "--set", "x"), ("show", "calculator", "--set", "x=1"), ("serve", "files:absent"),
    ],
)  # fmt: skip
def test_bad_input_is_said(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        rung(*arguments)


def test_several_tools_need_a_name(tmp_path: Path) -> None:
    with pytest.raises(RungError) as raised:
        rung("call", f"files:{tmp_path}", "{}")
    assert "files_list" in raised.value.remedy
