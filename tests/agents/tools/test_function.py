"""A typed function is a tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from rung.agents.tools.function import open_python, tool
from rung.core.errors import InputError, RungError
from rung.core.protocols import Tool


def lend(book: str, days: int = 14, to: Literal["adult", "child"] = "adult") -> dict[str, Any]:
    """Lend a book.

    The rest is for people.
    """
    return {"book": book, "days": days, "to": to}


async def test_signature_is_the_schema() -> None:
    made = tool(lend, effect="keyed")
    assert isinstance(made, Tool)
    assert (made.name, made.description, made.effect) == ("lend", "Lend a book.", "keyed")
    assert made.schema["required"] == ["book"]
    assert made.schema["properties"]["to"]["enum"] == ["adult", "child"]
    assert made.schema["additionalProperties"] is False
    assert await made.call({"book": "Dune"}, key="k") == '{"book": "Dune", "days": 14, "to": "adult"}'


async def test_key_goes_to_a_function_that_wants_it() -> None:
    async def post(text: str, key: str) -> str:
        return f"{key}:{text}"

    made = tool(post)
    assert "key" not in made.schema["properties"]
    assert await made.call({"text": "a"}, key="7") == "7:a"


@pytest.mark.parametrize("bad", [{}, {"book": "a", "days": "soon"}, {"book": "a", "to": "pet"}, {"book": "a", "x": 1}])
async def test_arguments_that_do_not_fit_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        await tool(lend).call(bad, key="")


async def test_what_a_function_raises_is_told() -> None:
    def divide(a: int, b: int) -> float:
        return a / b

    with pytest.raises(RungError) as raised:
        await tool(divide).call({"a": 1, "b": 0}, key="")
    assert raised.value.code == "tool-failed"
    assert "ZeroDivisionError" in raised.value.message


def test_signatures_without_a_schema_are_refused() -> None:
    for function in (lambda x: x, lambda *many: many, lambda **more: more):
        with pytest.raises(InputError):
            tool(function, name="f")
    with pytest.raises(InputError):
        tool(lend, name="two words")


async def test_python_opens_modules_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def double(n: int) -> int:\n    return 2 * n\n")
    assert await open_python("mine.py:double").call({"n": 4}, key="") == "8"
    assert open_python("tests.agents.tools.test_function:lend").name == "lend"
    for target in ("double", "mine.py:twice", "absent.py:x", "absent_module_x:y"):
        with pytest.raises(InputError):
            open_python(target)


@pytest.mark.parametrize("value", [b"\xff", {"a": object()}])
async def test_what_has_no_form_as_text_is_told(value: Any) -> None:
    def give() -> Any:
        return value

    with pytest.raises(RungError) as told:
        await tool(give).call({}, key="")
    assert told.value.code == "tool-failed"


def test_a_default_that_has_no_json_form_is_refused() -> None:
    def give(n: int = object()) -> str:  # type: ignore[assignment]
        return str(n)

    with pytest.raises(InputError):
        tool(give)
