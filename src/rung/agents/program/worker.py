"""A worker: takes letters out of a box, one at a time, does what each asks, and sends back what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rung.agents.program.member import POLL
from rung.core.codec import spell
from rung.core.errors import StoreError
from rung.core.parts.program import attempt
from rung.core.protocols import Program
from rung.core.types import Answer
from rung.core.types.mail import Letter
from rung.core.types.trail import ToolCaller, Trail, calling


async def work(
    program: Program,
    box: str,
    trail: Trail,
    *,
    most: int | None = None,
    idle: float | None = None,
    told: Callable[[Letter, Answer | None], None] = lambda letter, answer: None,
) -> int:
    """Answer letters until ``most`` are answered or none has come for ``idle`` seconds; how many. ``told`` hears of
    each when it is taken (None), and when it is answered.

    A letter is held by this process until the answer is sent. If the process dies before, another one takes the letter,
    and the same program goes on in the episode that the letter's key names: what was done is not done again.
    """
    loop = asyncio.get_running_loop()
    done, since = 0, loop.time()
    while most is None or done < most:
        letter = trail.mail.take(box)
        if letter is None:
            if idle is not None and loop.time() - since >= idle:
                break
            await asyncio.sleep(POLL)
            continue
        told(letter, None)
        with calling(ToolCaller(trail, letter.key.rpartition("-")[0], f"{box}/{letter.key}")):
            answer = await attempt(lambda _, text=letter.text: program(text), {})  # type: ignore[misc]
        failure = answer.failure
        if failure is not None and failure.code == StoreError.code:
            raise StoreError(failure.message)  # the letter stays held, and is taken anew when this process has ended
        reply = f"answer\n{spell(answer.output)}" if failure is None else f"failed\n{failure.message}"
        trail.mail.finish(letter, reply)
        told(letter, answer)
        done, since = done + 1, loop.time()
    return done
