"""``calculator``: exact arithmetic."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rung.agents.tools.function import FunctionTool, no_target, tool
from rung.foundations.arithmetic import LONGEST, calculate


def open_calculator(target: str = "") -> FunctionTool:
    """The calculator; it takes no target."""
    no_target("calculator", target)

    async def calculator(
        expression: Annotated[str, Field(description="such as 12 * (3 + 4)", min_length=1, max_length=LONGEST)],
    ) -> str:
        """Work out arithmetic exactly: numbers, + - * / // % **, brackets, abs ceil floor max min round sqrt."""
        return calculate(expression)

    return tool(calculator)
