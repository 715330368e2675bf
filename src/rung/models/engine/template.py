"""Messages to tokens under a model's own chat template, so that nothing in a message can act as a control token.

The template (Jinja, from the weights) is rendered with a placeholder for every content. Control tokens are read only
from the template's own text; contents are tokenised as plain text, with the spelling of a control token broken in two,
because the tokenizer would take it for the token. Tokens of honest text are what the tokenizer gives for the whole
rendered prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from types import ModuleType
from typing import Any

from rung.core.codec import digest
from rung.core.errors import InputError, Unsupported
from rung.core.types import Message, ToolSpec


def _sandbox() -> ModuleType:
    from rung.foundations import sandbox  # Jinja2 is loaded by the first template, not by the provider's import

    return sandbox


_OPEN, _SHUT = "\ue0f5", "\ue0f6"
_MARK = re.compile(f"{_OPEN}(\\d+){_SHUT}")

TOOLS = """You can use these tools. Each is given as JSON: name, description, and the JSON schema of its arguments.
{tools}
Reply with one JSON object and nothing else. To use a tool: {{"tool": "NAME", "arguments": {{...}}}}
To answer: {{"answer": "TEXT"}}"""
"""What is added to the system message when tools are offered; the reply is decoded under ``tools_schema``."""


def tools_schema(tools: Sequence[ToolSpec]) -> dict[str, Any]:
    """The JSON schema of a reply when ``tools`` are offered: a call of one of them, or an answer."""
    calls = [
        {
            "type": "object",
            "properties": {"tool": {"const": tool.name}, "arguments": dict(tool.schema) or {"type": "object"}},
            "required": ["tool", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    answer = {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    return {"anyOf": [*calls, answer]}


def call_id(document: Mapping[str, Any]) -> str:
    """The id of a call that was read from a reply."""
    return f"call_{digest(document)[:12]}"


def with_tools(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Message]:
    """The messages with the tools described in the system message (one is added where there is none)."""
    if not tools:
        return list(messages)
    lines = "\n".join(
        json.dumps({"name": t.name, "description": t.description, "arguments": t.schema}, ensure_ascii=False)
        for t in tools
    )
    text = TOOLS.format(tools=lines)
    if messages and messages[0].role == "system":
        return [Message("system", f"{messages[0].content}\n\n{text}"), *messages[1:]]
    return [Message("system", text), *messages]


def _flat(message: Message) -> tuple[str, str]:
    """Role and text of a message for templates that know no tools: calls as the JSON that made them, results as user
    turns."""
    if message.role == "tool":
        return "user", f"Result of tool call {message.tool_call_id or ''}: {message.content}"
    if message.tool_calls:
        calls = [json.dumps({"tool": c.name, "arguments": c.arguments}, ensure_ascii=False) for c in message.tool_calls]
        return message.role, "\n".join([*([message.content] if message.content else []), *calls])
    return message.role, message.content


class ChatTemplate:
    """A compiled chat template. ``encode`` turns texts into tokens, ``control`` maps special tokens' texts to ids."""

    def __init__(
        self,
        source: str,
        control: Mapping[str, int],
        encode: Callable[[Sequence[str]], Sequence[Sequence[int]]],
        *,
        bos: str,
        eos: str,
    ) -> None:
        if not source:
            raise Unsupported(
                "the weights carry no chat template", remedy="use the instruct version of the model (its GGUF has one)"
            )
        self._control = dict(control)
        self._encode = encode
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._specials = re.compile("|".join(re.escape(t) for t in sorted(control, key=len, reverse=True)) or "(?!)")
        try:
            _sandbox().compiled(source, "chat")
        except InputError as error:
            raise Unsupported(
                f"the chat template in the weights does not compile: {error.message}",
                remedy="fetch the model again, or use another file of it",
            ) from None
        self._source = source
        self._starts = re.compile(f"(?={self._specials.pattern})")
        self._literal = lru_cache(maxsize=512)(self._literal_tokens)
        self.turn_end = self._turn_end()

    def tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The prompt that asks for the next assistant message. A last message with role assistant is continued instead:
        its text is the beginning of the reply. Raises InputError when the template refuses the messages."""
        flat = [_flat(message) for message in messages]
        if not flat:
            raise InputError("no messages", remedy="give at least one message with role user")
        return self._assemble(flat)

    def plain(self, text: str) -> list[int]:
        """Tokens of text in which nothing is a control token."""
        # Spelled control tokens are cut after their first character. All parts go to the tokenizer in one call: a text
        # may be full of them.
        cuts = [0, *(found.start() + 1 for found in self._starts.finditer(text)), len(text)]
        parts = [text[start:end] for start, end in pairwise(cuts) if start < end]
        return [token for tokens in self._encode(parts) for token in tokens]

    def _assemble(self, flat: Sequence[tuple[str, str]]) -> tuple[int, ...]:
        prefill = flat[-1][1] if flat[-1][0] == "assistant" else ""
        asked = flat[:-1] if flat[-1][0] == "assistant" else flat
        rendered = self._render([role for role, _ in asked], ask=True)
        contents = [text for _, text in asked]
        out: list[int] = []
        at = 0
        # Text between two control tokens is tokenised as one piece: template text and contents alike.
        pending: list[str] = []

        def flush() -> None:
            text = "".join(pending)
            pending.clear()
            if text:
                out.extend(self.plain(text) if len(text) > 256 else self._literal(text))

        pieces = re.compile(f"{self._specials.pattern}|{_MARK.pattern}")
        for found in pieces.finditer(rendered):
            pending.append(rendered[at : found.start()])
            at = found.end()
            if found.group().startswith(_OPEN):
                pending.append(contents[int(found.group(1))])
            else:
                flush()
                out.append(self._control[found.group()])
        pending.append(rendered[at:])
        pending.append(prefill)
        flush()
        return tuple(out)

    def _literal_tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self.plain(text))

    def _render(self, roles: Sequence[str], *, ask: bool) -> str:
        messages = [{"role": role, "content": f"{_OPEN}{i}{_SHUT}"} for i, role in enumerate(roles)]
        values = {"messages": messages, "add_generation_prompt": ask, "tools": None, **self._tokens}
        try:
            return str(_sandbox().render(self._source, values, dialect="chat"))
        except InputError as error:
            raise InputError(
                f"the model's chat template refuses messages with roles {', '.join(roles) or 'none'}: {error.message}",
                remedy="expected: an optional system message, then user and assistant in turn",
            ) from None

    def _turn_end(self) -> int | None:
        """The control token that closes an assistant message."""
        text = self._render(["user", "assistant"], ask=False)
        if any(f"{_OPEN}{turn}{_SHUT}" not in text for turn in (0, 1)):
            raise Unsupported(
                "the chat template in the weights leaves out what the user or the model says",
                remedy="fetch the model again, or use another file of it",
            )
        found = self._specials.search(text, text.index(f"{_OPEN}1{_SHUT}"))
        return None if found is None else self._control[found.group()]
