"""``code`` and ``code:SANDBOX``: run Python in a sandbox (rung.sandbox), never in this process."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from rung.agents.tools.function import FunctionTool, tool
from rung.sandbox import Quota, open_sandbox
from rung.sandbox.outcome import LONGEST


def open_code(target: str = "", *, seconds: float = 5.0, memory: int = 256, output: int = 16_000) -> FunctionTool:
    """``target`` is a sandbox (monty, bubblewrap; empty: the first that is there). ``memory`` is in MB, ``output`` in
    bytes.

    Raises Unsupported (code ``no-sandbox``) where there is none.
    """
    sandbox = open_sandbox(target or "auto")
    quota = Quota(seconds=seconds, memory=memory, output=output)

    async def code(code: Annotated[str, Field(min_length=1, max_length=LONGEST)]) -> str:
        """Run a Python script and see what it prints and the value of its last line. Nothing is kept between calls."""
        outcome = await asyncio.to_thread(sandbox.run, code, quota=quota)
        return outcome.report()

    return tool(code, returns="untrusted")
