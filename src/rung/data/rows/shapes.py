"""The forms that training rows come in, read into records and written back: each form is one class, tried in order.

Reading and writing in the same form gives the row back as it was, key for key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from rung.core.errors import InputError
from rung.core.types import Message, Role
from rung.data.rows.records import Record

Row = Mapping[str, Any]
TOOL = "<tool_call>\n{}\n</tool_call>"
"""How a call of a tool is said in words, as small open models are trained to."""


class Shape(Protocol):
    """A form of rows."""

    @property
    def name(self) -> str: ...

    def fits(self, row: Row) -> bool: ...
    def read(self, row: Row) -> dict[str, Any]:
        """Fields of a Record. Raises ValueError saying what is wrong."""
        ...

    def write(self, record: Record) -> dict[str, Any]:
        """The row again. Raises ValueError for a record that the form cannot say."""
        ...


def _rest(row: Row, *used: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in used}


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {type(value).__name__}, expected text")
    return value


def _pair(record: Record) -> tuple[str, str, str]:
    """System, user and assistant text of a record with one exchange."""
    roles = [message.role for message in record.messages]
    texts = [message.content for message in record.messages]
    if roles == ["user", "assistant"]:
        return "", texts[0], texts[1]
    if roles == ["system", "user", "assistant"]:
        return texts[0], texts[1], texts[2]
    raise ValueError(f"it has turns {', '.join(roles) or 'none'}, expected one question and one answer")


class Messages:
    """``{"messages": [{"role": ..., "content": ...}]}``, as chat APIs take it; a bare list stands under that key too."""

    name = "messages"

    def fits(self, row: Row) -> bool:
        value = row.get("messages")
        return isinstance(value, Sequence) and not isinstance(value, str) and "rejected" not in row

    def read(self, row: Row) -> dict[str, Any]:
        messages, details = [], {}
        for place, turn in enumerate(row["messages"]):
            if not isinstance(turn, Mapping) or turn.get("role") not in ("system", "user", "assistant", "tool"):
                raise ValueError(f"message {place + 1} has no role of system, user, assistant or tool")
            role: Role = turn["role"]
            content = _text(turn.get("content"), f"content of message {place + 1}")
            if calls := turn.get("tool_calls"):
                said = [TOOL.format(json.dumps(call.get("function", call), ensure_ascii=False)) for call in calls]
                content = "\n".join([*([content] if content else []), *said])
            messages.append(Message(role, content))
            if set(turn) != {"role", "content"} or turn.get("content") is None:
                details[str(place)] = {"turn": dict(turn), "said": content}
        extra = _rest(row, "messages")
        return {"messages": tuple(messages), "extra": {**extra, **({"\0turns": details} if details else {})}}

    def write(self, record: Record) -> dict[str, Any]:
        if not record.messages:
            raise ValueError("it is a plain text, not a conversation")
        details = record.extra.get("\0turns", {}) if record.shape == self.name else {}
        turns = []
        for place, message in enumerate(record.messages):
            kept = details.get(str(place))
            if kept is not None and kept["said"] == message.content:
                turns.append(dict(kept["turn"]))
            else:  # as plain as it came, or changed since
                turns.append({"role": message.role, "content": message.content})
        return {"messages": turns, **_own(record, self.name)}


class ShareGpt:
    """``{"conversations": [{"from": "human", "value": ...}]}``, with ``function_call`` and ``observation`` turns."""

    name = "sharegpt"
    ROLES: ClassVar[dict[str, Role]] = {
        "system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
        "chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "function_call": "assistant",
        "observation": "tool", "tool": "tool",
    }  # fmt: skip
    BACK: ClassVar[dict[Role, str]] = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}

    def fits(self, row: Row) -> bool:
        value = row.get("conversations")
        return isinstance(value, Sequence) and not isinstance(value, str) and "chosen" not in row

    def read(self, row: Row) -> dict[str, Any]:
        messages, froms = [], []
        if system := row.get("system"):
            messages.append(Message("system", _text(system, "system")))
        for place, turn in enumerate(row["conversations"]):
            said = turn.get("from") if isinstance(turn, Mapping) else None
            if said not in self.ROLES:
                raise ValueError(f"turn {place + 1} is from {said!r}, expected {', '.join(sorted(self.ROLES))}")
            content = _text(turn.get("value"), f"value of turn {place + 1}")
            messages.append(Message(self.ROLES[said], TOOL.format(content) if said == "function_call" else content))
            froms.append(said)
        return {
            "messages": tuple(messages),
            "extra": {
                **_rest(row, "conversations", "system"),
                "\0from": froms,
                "\0system": "system" in row and not system,
                "\0key": bool(system),
            },
        }

    def write(self, record: Record) -> dict[str, Any]:
        if not record.messages:
            raise ValueError("it is a plain text, not a conversation")
        messages, out = list(record.messages), _own(record, self.name)
        kept = record.extra if record.shape == self.name else {}
        if kept.get("\0key") and messages[0].role == "system":
            out["system"] = messages.pop(0).content
        elif kept.get("\0system"):
            out["system"] = ""
        froms = kept.get("\0from") or []
        if len(froms) != len(messages):
            froms = [self.BACK[message.role] for message in messages]
        before, after = TOOL.split("{}")
        turns = []
        for said, message in zip(froms, messages, strict=True):
            value = message.content
            if said == "function_call":
                value = value.removeprefix(before).removesuffix(after)
            turns.append({"from": said, "value": value})
        return {"conversations": turns, **out}


class Preference:
    """``{"prompt", "chosen", "rejected"}``: texts, message lists, or ShareGPT turns; or only chosen and rejected dialogues that
    begin alike (``Human: ... Assistant: ...``)."""

    name = "preference"

    def fits(self, row: Row) -> bool:
        return "chosen" in row and "rejected" in row

    def read(self, row: Row) -> dict[str, Any]:
        chosen, rejected = self._said(row["chosen"]), self._said(row["rejected"])
        extra = {"\0row": dict(row)}
        if "conversations" in row:
            before = ShareGpt().read({"conversations": row["conversations"], "system": row.get("system")})["messages"]
            return self._made(before, chosen, rejected, extra)
        if "prompt" in row:
            value = row["prompt"]
            if isinstance(value, str):
                before = (Message("user", value),)
            else:
                before = Messages().read({"messages": value})["messages"]
            return self._made(before, chosen, rejected, extra)
        one, other = self._turns(row["chosen"]), self._turns(row["rejected"])
        if one[:-1] != other[:-1] or not one or one[-1].role != "assistant":
            raise ValueError("chosen and rejected differ before their last answer, and there is no prompt")
        return self._made(tuple(one[:-1]), one[-1].content, other[-1].content, extra)

    @staticmethod
    def _made(before: tuple[Message, ...], chosen: str, rejected: str, extra: dict[str, Any]) -> dict[str, Any]:
        return {"messages": (*before, Message("assistant", chosen)), "rejected": rejected, "extra": extra}

    @staticmethod
    def _said(value: Any) -> str:
        if isinstance(value, Mapping):
            return _text(value.get("content", value.get("value")), "an answer")
        if isinstance(value, Sequence) and not isinstance(value, str):
            return Preference._said(value[-1]) if value else ""
        return _text(value, "an answer")

    @staticmethod
    def _turns(value: Any) -> list[Message]:
        if not isinstance(value, str):
            return list(Messages().read({"messages": value})["messages"])
        out: list[Message] = []
        for piece in value.split("\n\n"):
            for mark, role in (("Human: ", "user"), ("Assistant: ", "assistant")):
                if piece.startswith(mark) or piece == mark.strip():
                    out.append(Message(role, piece.removeprefix(mark.strip()).strip()))  # type: ignore[arg-type]
                    break
            else:
                if out:
                    last = out.pop()
                    out.append(Message(last.role, f"{last.content}\n\n{piece}"))
        return out

    def write(self, record: Record) -> dict[str, Any]:
        if record.rejected is None:
            raise ValueError("it has no rejected answer")
        if record.shape == self.name:
            row = dict(record.extra["\0row"])
            again = self.read(row)
            if (again["messages"], again["rejected"]) == (record.messages, record.rejected):
                return row
        before = record.messages[:-1]
        prompt: Any = [{"role": m.role, "content": m.content} for m in before]
        if [m.role for m in before] == ["user"]:
            prompt = before[0].content
        return {"prompt": prompt, "chosen": record.answer, "rejected": record.rejected}


class Instruction:
    """``{"instruction", "input", "output"}`` (Alpaca; Dolly says context and response). An empty input adds nothing."""

    name = "instruction"
    INPUTS: ClassVar[tuple[str, ...]] = ("input", "context")
    OUTPUTS: ClassVar[tuple[str, ...]] = ("output", "response", "completion")

    def fits(self, row: Row) -> bool:
        return "instruction" in row and any(key in row for key in self.OUTPUTS)

    def read(self, row: Row) -> dict[str, Any]:
        output = next(key for key in self.OUTPUTS if key in row)
        given = next((key for key in self.INPUTS if key in row), "")
        asked, text = _text(row["instruction"], "instruction"), _text(row.get(given), given or "input")
        messages = [
            Message("user", f"{asked}\n\n{text}" if text else asked),
            Message("assistant", _text(row[output], output)),
        ]
        if system := row.get("system"):
            messages.insert(0, Message("system", _text(system, "system")))
        return {"messages": tuple(messages), "extra": {"\0row": dict(row), "\0output": output}}

    def write(self, record: Record) -> dict[str, Any]:
        system, user, answer = _pair(record)
        if record.shape == self.name:
            row = dict(record.extra["\0row"])
            again = self.read(row)["messages"]
            if again[:-1] == record.messages[:-1]:
                return row if again == record.messages else {**row, record.extra["\0output"]: answer}
        out = {"instruction": user, "input": "", "output": answer}
        return {"system": system, **out} if system else out


class Completion:
    """``{"prompt", "completion"}`` (or response)."""

    name = "prompt"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("completion", "response", "output")

    def fits(self, row: Row) -> bool:
        return isinstance(row.get("prompt"), str) and any(key in row for key in self.OUTPUTS)

    def read(self, row: Row) -> dict[str, Any]:
        output = next(key for key in self.OUTPUTS if key in row)
        messages = (Message("user", _text(row["prompt"], "prompt")), Message("assistant", _text(row[output], output)))
        return {"messages": messages, "extra": {**_rest(row, "prompt", output), "\0output": output}}

    def write(self, record: Record) -> dict[str, Any]:
        system, user, answer = _pair(record)
        output = record.extra.get("\0output", "completion") if record.shape == self.name else "completion"
        out = {"prompt": user, output: answer, **_own(record, self.name)}
        return {"system": system, **out} if system else out


@dataclass(frozen=True)
class Columns:
    """A question column and an answer column of whatever names: ``{"question", "answer"}``, or a text and its label. Values that
    are no text are asked and learnt as JSON says them, and written back as they were."""

    question: str = "question"
    answer: str = "answer"
    name: ClassVar[str] = "columns"

    def fits(self, row: Row) -> bool:
        return self.question in row and self.answer in row

    def read(self, row: Row) -> dict[str, Any]:
        messages = (Message("user", self._said(row[self.question])), Message("assistant", self._said(row[self.answer])))
        return {"messages": messages, "extra": {"\0row": dict(row), "\0columns": [self.question, self.answer]}}

    @staticmethod
    def _said(value: Any) -> str:
        return (
            ""
            if value is None
            else value
            if isinstance(value, str)
            else json.dumps(value, ensure_ascii=False, default=str)
        )

    def write(self, record: Record) -> dict[str, Any]:
        system, user, answer = _pair(record)
        out: dict[str, Any] = {**({"system": system} if system else {}), self.question: user, self.answer: answer}
        if record.shape != self.name or system:
            return out
        row, (question, given) = dict(record.extra["\0row"]), record.extra["\0columns"]
        for column, said in ((question, user), (given, answer)):
            if self._said(row[column]) != said:
                row[column] = said
        return row


class Text:
    """``{"text": ...}``: for continued pre-training."""

    name = "text"

    def fits(self, row: Row) -> bool:
        return isinstance(row.get("text"), str)

    def read(self, row: Row) -> dict[str, Any]:
        return {"text": row["text"], "extra": _rest(row, "text")}

    def write(self, record: Record) -> dict[str, Any]:
        return {"text": record.whole, **_own(record, self.name)}


SHAPES: tuple[Messages | ShareGpt | Preference | Instruction | Completion | Columns | Text, ...] = (
    Preference(),
    Messages(),
    ShareGpt(),
    Instruction(),
    Completion(),
    Columns(),
    Text(),
)


def shape(name: str) -> Shape:
    """The form of that name. Raises InputError naming those there are."""
    for item in SHAPES:
        if item.name == name:
            return item
    raise InputError(f"unknown shape {name!r}", remedy=f"expected {', '.join(item.name for item in SHAPES)}")


def read(row: Row, id: str, source: Mapping[str, Any], form: Shape | None = None) -> Record:
    """A row as a record, in the given form or the first that fits. Raises ValueError saying why it is none."""
    found = form or next((item for item in SHAPES if item.fits(row)), None)
    if found is None or not found.fits(row):
        wanted = (
            f"the form {found.name!r}"
            if found
            else "messages, conversations, instruction/output, prompt/completion, chosen/rejected, question/answer or text"
        )
        raise ValueError(f"it has {', '.join(map(str, row)) or 'no columns'}; expected {wanted}")
    return Record(id=id, shape=found.name, source=source, **found.read(row))


def _own(record: Record, name: str) -> dict[str, Any]:
    """What the record's row had besides, when it is written in the form that it was read in."""
    if record.shape != name:
        return {}
    return {key: value for key, value in record.extra.items() if not key.startswith("\0")}
