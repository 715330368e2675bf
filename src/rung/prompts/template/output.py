"""A prompt as other programs take it: text, OpenAI messages, a Python function. All say byte for byte what was
scored."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rung.core.codec import canonical
from rung.core.errors import InputError
from rung.core.types import Message
from rung.prompts.template.render import Pairs
from rung.prompts.template.template import Template, slots


def as_text(messages: Sequence[Message]) -> str:
    """One message as it is; several under a line with the role each."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"{message.role}:\n{message.content}" for message in messages)


def as_openai(messages: Sequence[Message]) -> str:
    """The ``messages`` of OpenAI's chat completions, as JSON."""
    return json.dumps(
        [{"role": message.role, "content": message.content} for message in messages], ensure_ascii=False, indent=2
    )


def as_python(template: Template) -> str:
    """A module with ``messages(...)``, which takes the template's open variables and gives OpenAI messages.

    Where values stand alone in their turns it needs the standard library only; else rung, which escapes them.
    """
    fields = template.required or tuple(variable.name for variable in template.variables)
    names = ", ".join(f"{name}: str" for name in fields)
    title = f'"""Prompt {template.name!r}, hash {template.origin[:12]}: exported by rung."""'
    pairs = _bare(template, fields)
    if pairs is not None:
        turns = "\n".join(f'        {{"role": {role!r}, "content": {_expression(slot)}}},' for role, slot in pairs)
        return f"{title}\n\n\ndef messages({names}) -> list[dict[str, str]]:\n    return [\n{turns}\n    ]\n"
    values = ", ".join(f"{name!r}: {name}" for name in fields)
    return (
        f"{title}\n\nimport json\n\nfrom rung.core.codec import decode\nfrom rung.prompts.template.template import Template\n\n"
        f"TEMPLATE = decode(Template, json.loads({canonical(template)!r}))\n\n\n"
        f"def messages({names}) -> list[dict[str, str]]:\n"
        f"    rendered = TEMPLATE.render({{{values}}})\n"
        '    return [{"role": message.role, "content": message.content} for message in rendered]\n'
    )


def _bare(template: Template, fields: Sequence[str]) -> list[tuple[str, Pairs]] | None:
    """The turns as pairs where no slot needs escaping: in chat, a value that is a whole message."""
    if (template.style or "chat") != "chat":
        return None
    try:
        found = slots(template, fields)
    except InputError:
        return None
    alone = all(
        not turn.pairs or (len(turn.pairs) == 1 and not turn.pairs[0][0] and not turn.tail) for _, turn in found
    )
    return [(role, turn) for role, turn in found] if alone else None


def _expression(turn: Pairs) -> str:
    return turn.pairs[0][1] if turn.pairs else repr(turn.tail)
