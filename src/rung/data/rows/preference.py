"""Pairs of a better and a worse answer: DPO, HH-RLHF, UltraFeedback and OpenAI's preference rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rung.core.types import Message
from rung.data.rows.forms import Instruction, Row, Said, with_system
from rung.data.rows.records import Record, RowError
from rung.data.rows.turns import is_turns, read_turns, text, write_openai


class Preference:
    """``chosen`` and ``rejected`` with ``prompt`` (or ``question``, ``instruction``): texts, message lists or
    ShareGPT turns; whole dialogues (``Human: ... Assistant: ...`` as well) that differ in their last answer; OpenAI's
    ``preferred_output``."""

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
            messages = with_system(row, messages)
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
        """What comes after ``before``: dialogues begin with the prompt once more (without its system message,
        perhaps)."""
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
