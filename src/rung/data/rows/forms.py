"""The forms that training rows come in: which columns each reads, and what it writes. ``shapes`` has them all, in
order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from rung.core.types import Message
from rung.data.rows.records import Record, RowError
from rung.data.rows.turns import is_turns, read_turns, text, write_openai, write_sharegpt

Row = Mapping[str, Any]
ROW, UNLEARNT, COLUMNS = "\0row", "\0unlearnt", "\0columns"
"""Keys of ``Record.extra`` that are no columns: the whole row, what of it no model is shown, the names of question
and answer."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a row says: a conversation (with the worse answer of a pair) or a text; the columns that were read for it;
    what of those no model is shown."""

    messages: tuple[Message, ...] = ()
    used: tuple[str, ...] = ()
    rejected: str | None = None
    text: str = ""
    unlearnt: frozenset[str] = frozenset()
    columns: tuple[str, str] | None = None


class Shape(Protocol):
    """A form of rows."""

    @property
    def name(self) -> str: ...

    def matches(self, row: Row) -> bool:
        """Whether a row has the columns of this form."""
        ...

    def read(self, row: Row) -> Said:
        """Raises RowError saying what is wrong with the row."""
        ...

    def write(self, record: Record) -> dict[str, Any]:
        """The columns of this form. Raises RowError for a record that it cannot say."""
        ...


def with_system(row: Row, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages behind the column ``system``: a text, or Anthropic's blocks."""
    value = row.get("system")
    if not value:
        return messages
    return (*read_turns([{"role": "system", "content": value}], set()), *messages)


def one_exchange(record: Record) -> tuple[dict[str, str], str, str]:
    """System (as a column, if there is one), user and assistant text of a record with one exchange."""
    roles = [message.role for message in record.messages]
    texts = [message.content for message in record.messages]
    if roles == ["user", "assistant"]:
        return {}, texts[0], texts[1]
    if roles == ["system", "user", "assistant"]:
        return {"system": texts[0]}, texts[1], texts[2]
    raise RowError(f"it has turns {', '.join(roles) or 'none'}, expected one question and one answer", "turns")


def _desirable(row: Row, key: str) -> bool | None:
    """The mark of a KTO row (true: a good answer); None when the column holds no truth value."""
    value = row.get(key)
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    return value if isinstance(value, bool) else None


def _marked(
    row: Row, messages: tuple[Message, ...], keys: tuple[str, ...] = ("label", "kto_tag")
) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """The messages, the last of which is not learnt when a KTO row calls it undesirable; and the column that says
    so."""
    for key in keys:
        good = _desirable(row, key)
        if good is not None and messages and messages[-1].role == "assistant":
            return (*messages[:-1], Message("assistant", messages[-1].content, learn=good)), (key,)
    return messages, ()


class Messages:
    """``{"messages": [{"role": ..., "content": ...}]}`` as chat APIs take it, OpenAI's and Anthropic's; with
    ``label``, KTO."""

    name = "messages"
    KEYS: ClassVar[tuple[str, ...]] = ("messages", "conversation", "conversations")

    def _key(self, row: Row) -> str | None:
        for key in self.KEYS:
            value: Any = row.get(key)
            if is_turns(value) and (any("role" in turn for turn in value) or (key == "messages" and not value)):
                return key
        # What is named so and is none is told turn by turn.
        return "messages" if isinstance(row.get("messages"), list | tuple) else None

    def matches(self, row: Row) -> bool:
        return self._key(row) is not None and "rejected" not in row

    def read(self, row: Row) -> Said:
        key, unlearnt = self._key(row) or "messages", set[str]()
        messages = with_system(row, read_turns(row[key], unlearnt))
        messages, mark = _marked(row, messages)
        return Said(messages, (key, "system", *mark), unlearnt=frozenset(unlearnt))

    def write(self, record: Record) -> dict[str, Any]:
        return {"messages": write_openai(_conversation(record))}


class ShareGpt:
    """``{"conversations": [{"from": "human", "value": ...}]}``, with ``function_call`` and ``observation`` turns."""

    name = "sharegpt"
    KEYS: ClassVar[tuple[str, ...]] = ("conversations", "conversation", "items")

    def _key(self, row: Row) -> str | None:
        found = next((key for key in self.KEYS if is_turns(row.get(key)) and row[key]), None)
        return found or ("conversations" if isinstance(row.get("conversations"), list | tuple) else None)

    def matches(self, row: Row) -> bool:
        return self._key(row) is not None and "chosen" not in row

    def read(self, row: Row) -> Said:
        key, unlearnt = self._key(row) or "conversations", set[str]()
        messages, mark = _marked(row, with_system(row, read_turns(row[key], unlearnt)))
        return Said(messages, (key, "system", *mark), unlearnt=frozenset(unlearnt))

    def write(self, record: Record) -> dict[str, Any]:
        return {"conversations": write_sharegpt(_conversation(record))}


def _conversation(record: Record) -> tuple[Message, ...]:
    if not record.messages:
        raise RowError("it is a plain text, not a conversation", "plain-text")
    return record.messages


class Instruction:
    """``{"instruction", "input", "output"}`` (Alpaca, with ``system`` and ``history``); Dolly says context and
    response. What is empty adds nothing."""

    name = "instruction"
    INPUTS: ClassVar[tuple[str, ...]] = ("input", "context")
    OUTPUTS: ClassVar[tuple[str, ...]] = ("output", "response", "completion")

    def matches(self, row: Row) -> bool:
        return "instruction" in row and any(key in row for key in self.OUTPUTS)

    @classmethod
    def question(cls, row: Row) -> tuple[tuple[Message, ...], tuple[str, ...]]:
        """What is asked, behind the exchanges of ``history``; and the columns that were read."""
        messages = []
        for place, exchange in enumerate(row.get("history") or (), 1):
            if not isinstance(exchange, list | tuple) or len(exchange) != 2:
                raise RowError(f"exchange {place} of history is no pair of question and answer", "history")
            asked, answered = (text(said, f"exchange {place} of history") for said in exchange)
            messages += [Message("user", asked), Message("assistant", answered)]
        names = ("instruction", *cls.INPUTS)
        pieces = [piece for name in names if (piece := text(row.get(name), name)) or name == "instruction"]
        return (*messages, Message("user", "\n\n".join(pieces))), (*names, "history")

    def read(self, row: Row) -> Said:
        output = next(key for key in self.OUTPUTS if key in row)
        asked, used = self.question(row)
        messages = with_system(row, (*asked, Message("assistant", text(row[output], output))))
        messages, mark = _marked(row, messages, ("kto_tag",))
        return Said(messages, (*used, "system", output, *mark))

    def write(self, record: Record) -> dict[str, Any]:
        system, user, answer = one_exchange(record)
        return {**system, "instruction": user, "input": "", "output": answer}


class Completion:
    """``{"prompt", "completion"}`` (or response): texts, or message lists as TRL has them; with ``label``, KTO."""

    name = "prompt"
    OUTPUTS: ClassVar[tuple[str, ...]] = ("completion", "response", "output")

    def matches(self, row: Row) -> bool:
        value = row.get("prompt")
        return (isinstance(value, str) or is_turns(value)) and any(key in row for key in self.OUTPUTS)

    def read(self, row: Row) -> Said:
        output, unlearnt = next(key for key in self.OUTPUTS if key in row), set[str]()
        asked, answer = row["prompt"], row[output]
        before = (Message("user", asked),) if isinstance(asked, str) else read_turns(asked, unlearnt)
        after = read_turns(answer, unlearnt) if is_turns(answer) else (Message("assistant", text(answer, output)),)
        messages, mark = _marked(row, with_system(row, (*before, *after)))
        return Said(messages, ("prompt", "system", output, *mark), unlearnt=frozenset(unlearnt))

    def write(self, record: Record) -> dict[str, Any]:
        system, user, answer = one_exchange(record)
        mark = {} if record.messages[-1].learn else {"label": False}
        return {**system, "prompt": user, "completion": answer, **mark}


@dataclass(frozen=True)
class Columns:
    """A question column and an answer column of whatever names: ``{"question", "answer"}``, or a text and its label.
    ``context`` stands before the question and ``answers`` are SQuAD's, the first of which is learnt. Values that are
    no text are asked and learnt as JSON says them, and written back as they were."""

    question: str = "question"
    answer: str = "answer"
    name: ClassVar[str] = "columns"

    def matches(self, row: Row) -> bool:
        return self.question in row and (self.answer in row or (self._plain and "answers" in row))

    @property
    def _plain(self) -> bool:
        return (self.question, self.answer) == ("question", "answer")

    def read(self, row: Row) -> Said:
        used, unlearnt = [self.question, "system"], set[str]()
        asked = self._said(row[self.question])
        if self._plain and isinstance(context := row.get("context"), str):
            asked = f"{context}\n\n{asked}" if context.strip() else asked
            used.append("context")
        if self.answer in row:
            answer, column = self._said(row[self.answer]), self.answer
        else:
            answers, column = self._answers(row["answers"]), "answers"
            answer = self._said(answers[0])
            if len(set(map(self._said, answers))) > 1:
                unlearnt.add("all but the first of answers")
        messages = with_system(row, (Message("user", asked), Message("assistant", answer)))
        return Said(messages, (*used, column), unlearnt=frozenset(unlearnt), columns=(self.question, column))

    @staticmethod
    def _answers(value: Any) -> list[Any]:
        """SQuAD's answers: a list of texts, or of ``{"text": ...}``, or Hugging Face's ``{"text": [...]}``."""
        found = value.get("text") if isinstance(value, Mapping) else value
        found = [item.get("text") if isinstance(item, Mapping) else item for item in found or ()]
        if not found:
            raise RowError("it has no answer: answers is empty", "no-answer")
        return found

    @staticmethod
    def _said(value: Any) -> str:
        if value is None or isinstance(value, str):
            return value or ""
        return json.dumps(value, ensure_ascii=False, default=str)

    def write(self, record: Record) -> dict[str, Any]:
        system, user, answer = one_exchange(record)
        question, column = record.extra.get(COLUMNS) or (self.question, self.answer)
        row = record.extra.get(ROW, {}) if record.shape == self.name else {}

        def kept(name: str, said: str) -> Any:
            return row[name] if name in row and self._said(row[name]) == said else said

        return {**system, question: kept(question, user), column: kept(column, answer)}


class PlainText:
    """``{"text": ...}``: for continued pre-training."""

    name = "text"

    def matches(self, row: Row) -> bool:
        return isinstance(row.get("text"), str)

    def read(self, row: Row) -> Said:
        return Said(used=("text",), text=row["text"])

    def write(self, record: Record) -> dict[str, Any]:
        return {"text": record.whole}
