"""The forms that training rows come in, read into records and written back: each form is one class, tried in order.

A form says which columns it reads. All others are kept beside the record, and a row that the form would not write back as it was is
kept whole: reading and writing in the same form gives the row back, key for key, as long as its words were not changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from rung.core.errors import InputError
from rung.core.types import Message, ToolSpec
from rung.data.rows.records import Record, RowError
from rung.data.rows.turns import (
    is_turns,
    read_tools,
    read_turns,
    text,
    write_openai,
    write_sharegpt,
    write_tools,
)

Row = Mapping[str, Any]
ROW, UNLEARNT, COLUMNS = "\0row", "\0unlearnt", "\0columns"
"""Keys of ``Record.extra`` that are no columns: the whole row, what of it no model is shown, the names of question and answer."""
MEDIA = ("images", "image", "videos", "video", "audios", "audio")
"""Columns that a text alone does not stand for."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a row says: a conversation (with the worse answer of a pair) or a text; the columns that were read for it; what of
    those no model is shown."""

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


def _system(row: Row, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages behind the column ``system``: a text, or Anthropic's blocks."""
    value = row.get("system")
    if not value:
        return messages
    return (*read_turns([{"role": "system", "content": value}], set()), *messages)


def _pair(record: Record) -> tuple[dict[str, str], str, str]:
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
    """The messages, the last of which is not learnt when a KTO row calls it undesirable; and the column that says so."""
    for key in keys:
        good = _desirable(row, key)
        if good is not None and messages and messages[-1].role == "assistant":
            return (*messages[:-1], Message("assistant", messages[-1].content, learn=good)), (key,)
    return messages, ()


class Messages:
    """``{"messages": [{"role": ..., "content": ...}]}`` as chat APIs take it, OpenAI's and Anthropic's; with ``label``, KTO."""

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
        messages = _system(row, read_turns(row[key], unlearnt))
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
        messages, mark = _marked(row, _system(row, read_turns(row[key], unlearnt)))
        return Said(messages, (key, "system", *mark), unlearnt=frozenset(unlearnt))

    def write(self, record: Record) -> dict[str, Any]:
        return {"conversations": write_sharegpt(_conversation(record))}


def _conversation(record: Record) -> tuple[Message, ...]:
    if not record.messages:
        raise RowError("it is a plain text, not a conversation", "plain-text")
    return record.messages


class Preference:
    """``chosen`` and ``rejected`` with ``prompt`` (or ``question``, ``instruction``): texts, message lists or ShareGPT turns; whole
    dialogues (``Human: ... Assistant: ...`` as well) that differ in their last answer; OpenAI's ``preferred_output``."""

    name = "preference"
    PROMPTS: ClassVar[tuple[str, ...]] = ("prompt", "question", "conversations", "messages")

    def matches(self, row: Row) -> bool:
        return ("chosen" in row and "rejected" in row) or "non_preferred_output" in row

    def read(self, row: Row) -> Said:
        unlearnt: set[str] = set()
        if "non_preferred_output" in row:
            used: tuple[str, ...] = ("input", "preferred_output", "non_preferred_output")
            given = row.get("input")
            if not isinstance(given, Mapping) or not is_turns(given.get("messages")):
                raise RowError("input has no list of messages", "row")
            before = read_turns(given["messages"], unlearnt)
            good, bad = (self._turns(row.get(key), unlearnt) for key in used[1:])
        else:
            before, used = self._before(row, unlearnt)
            good, bad = (self._turns(row[key], unlearnt) for key in ("chosen", "rejected"))
            used = (*used, "chosen", "rejected", "system")
        good, bad = self._behind(before, good), self._behind(before, bad)
        shared = 0
        while shared < min(len(good), len(bad)) - 1 and good[shared] == bad[shared]:
            shared += 1
        if [m.role for m in good[shared:]] != ["assistant"] or [m.role for m in bad[shared:]] != ["assistant"]:
            raise RowError("chosen and rejected differ before their last answer", "pair")
        messages = (*before, *good)
        if not any(message.role == "user" for message in messages):
            raise RowError("there is no prompt, and chosen and rejected are no dialogues", "pair")
        if messages[0].role != "system":
            messages = _system(row, messages)
        return Said(messages, used, rejected=bad[-1].content, unlearnt=frozenset(unlearnt))

    def _before(self, row: Row, unlearnt: set[str]) -> tuple[tuple[Message, ...], tuple[str, ...]]:
        """The conversation before the answers, and the columns that it came from."""
        for key in self.PROMPTS:
            # UltraFeedback has the chosen dialogue a second time, as messages.
            if key not in row or (key == "messages" and is_turns(row["chosen"])):
                continue
            value = row[key]
            if isinstance(value, str):
                # An HH-RLHF dialogue as the prompt of two answers.
                talk = _dialogue(value)
                return talk if len(talk) > 1 and talk[-1].role == "user" else (Message("user", value),), (key,)
            return read_turns(value or (), unlearnt), (key,)
        if "instruction" in row:
            asked, used = Instruction.question(row)
            return asked, used
        return (), ()

    @staticmethod
    def _turns(value: Any, unlearnt: set[str]) -> tuple[Message, ...]:
        if isinstance(value, Mapping):
            value = [value]
        if is_turns(value):
            return read_turns(value, unlearnt)
        said = text(value, "an answer")
        return _dialogue(said) or (Message("assistant", said),)

    @staticmethod
    def _behind(before: tuple[Message, ...], turns: tuple[Message, ...]) -> tuple[Message, ...]:
        """What comes after ``before``: dialogues begin with the prompt once more (without its system message, perhaps)."""
        for start in (before, tuple(message for message in before if message.role != "system")):
            if start and turns[: len(start)] == start:
                return turns[len(start) :]
        return turns

    def write(self, record: Record) -> dict[str, Any]:
        if record.rejected is None:
            raise RowError("it has no rejected answer", "no-rejected")
        before = record.messages[:-1]
        if [m.role for m in before] == ["user"] and len(_dialogue(before[0].content)) < 2:
            return {"prompt": before[0].content, "chosen": record.answer, "rejected": record.rejected}
        # Messages throughout: a text beside them could be taken for a dialogue, and trainers refuse the mixture.
        good, bad = (write_openai([Message("assistant", said)]) for said in (record.answer, record.rejected))
        return {"prompt": write_openai(before), "chosen": good, "rejected": bad}


def _dialogue(value: str) -> tuple[Message, ...]:
    """The turns of an HH-RLHF dialogue; none for a text that does not begin as one."""
    out: list[Message] = []
    if not value.lstrip("\n").startswith("Human:"):
        return ()
    for piece in value.split("\n\n"):
        if piece.startswith("Human:"):
            out.append(Message("user", piece.removeprefix("Human:").strip()))
        elif piece.startswith("Assistant:"):
            out.append(Message("assistant", piece.removeprefix("Assistant:").strip()))
        elif out:
            last = out.pop()
            out.append(Message(last.role, f"{last.content}\n\n{piece}"))
    return tuple(out)


class Instruction:
    """``{"instruction", "input", "output"}`` (Alpaca, with ``system`` and ``history``); Dolly says context and response. What is
    empty adds nothing."""

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
        messages = _system(row, (*asked, Message("assistant", text(row[output], output))))
        messages, mark = _marked(row, messages, ("kto_tag",))
        return Said(messages, (*used, "system", output, *mark))

    def write(self, record: Record) -> dict[str, Any]:
        system, user, answer = _pair(record)
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
        messages, mark = _marked(row, _system(row, (*before, *after)))
        return Said(messages, ("prompt", "system", output, *mark), unlearnt=frozenset(unlearnt))

    def write(self, record: Record) -> dict[str, Any]:
        system, user, answer = _pair(record)
        mark = {} if record.messages[-1].learn else {"label": False}
        return {**system, "prompt": user, "completion": answer, **mark}


@dataclass(frozen=True)
class Columns:
    """A question column and an answer column of whatever names: ``{"question", "answer"}``, or a text and its label. ``context``
    stands before the question and ``answers`` are SQuAD's, the first of which is learnt. Values that are no text are asked and learnt
    as JSON says them, and written back as they were."""

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
        messages = _system(row, (Message("user", asked), Message("assistant", answer)))
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
        system, user, answer = _pair(record)
        question, column = record.extra.get(COLUMNS) or (self.question, self.answer)
        row = record.extra.get(ROW, {}) if record.shape == self.name else {}

        def kept(name: str, said: str) -> Any:
            return row[name] if name in row and self._said(row[name]) == said else said

        return {**system, question: kept(question, user), column: kept(column, answer)}


class Text:
    """``{"text": ...}``: for continued pre-training."""

    name = "text"

    def matches(self, row: Row) -> bool:
        return isinstance(row.get("text"), str)

    def read(self, row: Row) -> Said:
        return Said(used=("text",), text=row["text"])

    def write(self, record: Record) -> dict[str, Any]:
        return {"text": record.whole}


SHAPES: tuple[Shape, ...] = (Preference(), Messages(), ShareGpt(), Instruction(), Completion(), Columns(), Text())


def shape(name: str) -> Shape:
    """The form of that name. Raises InputError naming those there are."""
    for item in SHAPES:
        if item.name == name:
            return item
    raise InputError(f"unknown shape {name!r}", remedy=f"expected {', '.join(item.name for item in SHAPES)}")


def read(row: Row, id: str, source: Mapping[str, Any], form: Shape | None = None) -> Record:
    """A row as a record, in the given form or the first that fits. Raises RowError saying why it is none."""
    found = form or next((item for item in SHAPES if item.matches(row)), None)
    if found is None or not found.matches(row):
        wanted = (
            f"the form {found.name!r}"
            if found
            else "messages, conversations, instruction/output, prompt/completion, chosen/rejected, question/answer or text"
        )
        raise RowError(f"it has {', '.join(map(str, row)) or 'no columns'}; expected {wanted}", "no-shape")
    if media := next((key for key in MEDIA if row.get(key)), None) if found.name != "text" else None:
        raise RowError(f"it has {media}: only text can be learnt from", "media")
    said = found.read(row)
    tools, used = _tools(row) if said.messages else ((), ())
    if isinstance(given := row.get("input"), Mapping) and "input" in said.used:  # OpenAI's pairs
        tools = _tools(given)[0]
    extra: dict[str, Any] = {key: value for key, value in row.items() if key not in (*said.used, *used)}
    if said.unlearnt:
        extra[UNLEARNT] = sorted(said.unlearnt)
    if said.columns is not None:
        extra[COLUMNS] = list(said.columns)
    record = Record(id, said.messages, said.text, said.rejected, found.name, tools, extra, source)
    try:
        again = _fresh(record, found)
    except RowError:
        again = {}
    return record if again == row else _with(record, {**extra, ROW: dict(row)})


def _with(record: Record, extra: Mapping[str, Any]) -> Record:
    return Record(
        record.id, record.messages, record.text, record.rejected, record.shape, record.tools, extra, record.source
    )


def _tools(row: Row) -> tuple[tuple[ToolSpec, ...], tuple[str, ...]]:
    """The tools that a row offers, and the column that says so: OpenAI's ``tools`` (or ``functions``), which may be JSON."""
    for key in ("tools", "functions"):
        value = row.get(key)
        if isinstance(value, list | tuple) or (isinstance(value, str) and value.lstrip()[:1] in ("", "[")):
            return read_tools(value), (key,)
    return (), ()


def _fresh(record: Record, form: Shape) -> dict[str, Any]:
    """The row that a form makes of a record, with the record's other columns."""
    own = form.write(record)
    if record.tools:
        own["tools"] = write_tools(record.tools)
    says = form.name in ("messages", "sharegpt") or "label" in own
    if not says and not all(message.learn for message in record.messages):
        raise RowError("it has an answer that must not be learnt, which this shape cannot say", "not-learnt")
    return {**own, **{key: value for key, value in record.extra.items() if not key.startswith("\0") and key not in own}}


def write(record: Record, form: Shape | None = None) -> dict[str, Any]:
    """The record as a row, in the given form or the one that it was read in: there the row comes back as it was, unless its words
    were changed. Raises RowError for a record that the form cannot say."""
    form = form or shape(record.shape)
    row = record.extra.get(ROW) if form.name == record.shape else None
    if row is not None:
        again = read(row, record.id, record.source, _reader(record, form))
        if again.spoken == record.spoken:
            return dict(row)
    return _fresh(record, form)


def _reader(record: Record, form: Shape) -> Shape:
    columns = record.extra.get(COLUMNS)
    return Columns(columns[0], "answer" if columns[1] == "answers" else columns[1]) if columns else form


def losses(record: Record, form: Shape) -> Iterator[str]:
    """What of a record another form leaves out, in words."""
    if record.rejected is not None and form.name != "preference":
        yield "the rejected answer"
    if form.name == "text" and record.messages:
        yield "who said what"


def kept_beside(record: Record) -> list[str]:
    """What a record keeps that no model is shown or learns: other columns, parts of its turns, turns that must not be learnt."""
    names = [key for key in record.extra if not key.startswith("\0")]
    names += record.extra.get(UNLEARNT, ())
    if not all(message.learn for message in record.messages):
        names.append("answers with weight 0 or an undesirable label")
    return names
