"""``langchain:FILE.py:NAME`` or ``langchain:MODULE:NAME``: a tool of LangChain, a list or toolkit of them, or a
Runnable with a schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rung.agents.tools.function import demand, load_attribute
from rung.core.codec import spell
from rung.core.errors import InputError, RungError
from rung.core.protocols import Effect
from rung.core.system.extras import require


@dataclass(frozen=True)
class LangChainTool:
    """A ``BaseTool``. What it does is not known here, so that by default it is not done twice, and what it says is
    somebody's text."""

    inner: Any
    name: str
    description: str
    schema: Mapping[str, Any]
    effect: Effect = "once"
    returns: Literal["trusted", "untrusted"] = "untrusted"
    volatile: bool = True

    async def call(self, arguments: Mapping[str, Any], *, key: str) -> str:
        """What the tool gives, as text. Raises InputError (code ``arguments``) for arguments that its schema refuses;
        whatever the tool raises is told by its type and message."""
        demand(self.name, self.schema, arguments)
        try:
            value = await self.inner.ainvoke(dict(arguments))
        except RungError:
            raise
        except Exception as error:
            raise RungError(f"{self.name} failed: {type(error).__name__}: {error}", code="tool-failed") from error
        return spell(value)


def open_langchain(
    target: str = "",
    effect: Effect = "once",
    returns: Literal["trusted", "untrusted"] = "untrusted",
    volatile: bool = True,
) -> list[LangChainTool]:
    """The tools of a target. Raises InputError for what is none, or has no JSON schema; MissingExtra."""
    require("langchain_core", "langchain", "a tool of LangChain")
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

    found = load_attribute(target, "langchain")
    given = found.get_tools() if hasattr(found, "get_tools") else found
    opened = []
    for one in given if isinstance(given, list | tuple) else [given]:
        if isinstance(one, Runnable) and not isinstance(one, BaseTool):
            try:
                one = one.as_tool(name=target.rpartition(":")[2], description=one.get_name())
            except TypeError as error:
                raise InputError(
                    f"langchain:{target} has no schema: {error}", remedy="give it input types", code="langchain"
                ) from None
        if not isinstance(one, BaseTool):
            raise InputError(
                f"langchain:{target} is a {type(one).__name__}, expected a tool, a list of tools, a toolkit or a Runnable",
                remedy="decorate the function: from langchain_core.tools import tool",
                code="langchain",
            )
        given_schema: Any = one.args_schema
        model: Any = one.get_input_schema()
        schema = given_schema if isinstance(given_schema, dict) else model.model_json_schema()
        opened.append(LangChainTool(one, one.name, one.description or one.name, schema, effect, returns, volatile))
    return opened
