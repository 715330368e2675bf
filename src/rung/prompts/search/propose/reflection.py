"""An instruction rewritten by a model that is shown what went wrong."""

from __future__ import annotations

import random
import re
from dataclasses import replace

from rung.core.types import Message, Request, Result, Sampling, text_of
from rung.foundations.text.words import words as words_of
from rung.prompts.program import PromptProgram
from rung.prompts.search.propose.proposal import Material, Proposal, editable, parts_of, short_text, with_parts
from rung.prompts.template.render import fence, show

REFLECTION = "reflection"
LONGEST = 800
"""Characters of a rewritten instruction at most."""


def reflection(parent: PromptProgram, material: Material, turn: int, most: int = 4) -> Request | None:
    """The question to the reflector: the parent's instruction and training examples that it got wrong (reflective
    mutation; Agrawal et al. 2025, GEPA, arXiv:2507.19457). None where nothing went wrong or no word may be changed."""
    wrong = material.wrong
    if not wrong or not editable(parent):
        return None
    chosen = random.Random(material.seed + turn).sample(wrong, min(most, len(wrong)))
    cases = "\n\n".join(
        f"Case {at}, input:\n{fence(text_of(result.example.input))}\n"
        f"It answered: {_said_instead(result)}\nRight answer: {show(result.example.reference)}"
        for at, result in enumerate(chosen, 1)
    )
    parts = parts_of(parent)
    rules = "".join(f"\n- {rule}" for rule in parts.constraints)
    said = (
        f"An assistant follows this instruction:\n{fence(parts.instruction + rules)}\n\n"
        f"It made these mistakes:\n\n{cases}\n\n"
        "Write a better instruction that would have prevented such mistakes. It must hold for any input, so do not repeat "
        "the cases. Use one to four sentences. Write the instruction only."
    )
    messages = (Message("system", "You improve instructions for assistants."), Message("user", said))
    return Request(messages, Sampling(temperature=0.8, top_p=0.95, max_tokens=160, seed=turn), repeat=turn)


def _content_words(text: str) -> set[str]:
    """The words that mean something. A rewriting that keeps few of the task's can win on dev by luck, never by
    sense."""
    return {word for word in words_of(text) if len(word) > 3}


def _said_instead(result: Result) -> str:
    answer = result.answer
    return short_text(show(answer.output) if answer.failure is None else answer.raw or answer.failure.message, 200)


_LEADING = re.compile(
    r"^(?:text\n)?(?:\W*(?:here(?:'s| is)[^\n:]*|(?:(?:new|better|improved|revised|the) )*instruction)\W*:\W*)?",
    re.IGNORECASE,
)
"""What stands before an instruction in a chatty reply: the mark of a code block, "Here is a better instruction:"."""


def rewritten(parent: PromptProgram, material: Material, reply: str) -> tuple[Proposal | None, str]:
    """The reflector's reply as a proposal, or why it cannot be one: empty, nothing new, too long, about something
    else, a case repeated."""
    text = _LEADING.sub("", reply.strip().strip("`").strip())
    text = text.partition("\n\n")[0].strip().strip('"“”`*').strip()
    parts = parts_of(parent)
    if len(text) < 12:
        return None, "the reflector wrote next to nothing"
    if len(text) > LONGEST:
        return None, f"the reflector wrote {len(text):,} characters"
    if text == parts.instruction.strip():
        return None, "the reflector wrote the same instruction"
    if "{{" in text or "{%" in text:
        return None, "the reflector wrote template code"
    told, kept = _content_words(material.task.instruction), _content_words(text)
    if told and 3 * sum(any(word[:5] == other[:5] for other in kept) for word in told) < len(told):
        return None, "the reflector wrote about something else"
    plain = " ".join(text.split()).casefold()
    for result in material.feedback:
        case = " ".join(text_of(result.example.input).split()).casefold()
        if len(case) >= 16 and (case in plain or plain in case):
            return None, "the reflector repeated a case"
    program = with_parts(parent, replace(parts, instruction=text))
    return Proposal(program, REFLECTION, "instruction rewritten after mistakes on train"), ""
