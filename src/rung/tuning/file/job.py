"""From a tune.yaml to what is trained: rows, texts or a task's train split, with dev held out before anything is
learnt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from rung import tasks
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.core.types import Message, ToolCall, ToolSpec
from rung.data.read import read as read_records
from rung.data.rows.records import Record
from rung.data.rows.turns import split_calls
from rung.documents import read as read_documents
from rung.documents import scan
from rung.models.engine.template import call_id, with_tools
from rung.tuning.checks import privacy
from rung.tuning.file.config import Config
from rung.tuning.tune import Tune, teach
from rung.tuning.weights import Base, find_base
from rung.tuning.work import Lessons

T = TypeVar("T")
Talk = tuple[str, Sequence[Message]]


def gather(config: Config, settings: Settings) -> tuple[Base, Lessons]:
    """The base and the rows of a configuration. Raises InputError for data that cannot be read or holds nothing to
    learn."""
    base = find_base(config.model or settings["model"], settings.cache)
    if config.task:
        task = tasks.load(config.task)
        prompt = Tune().prompt(task)
        conversations, dev = teach(prompt, task)
        return base, Lessons(conversations, dev, window=config.window)
    if config.texts:
        texts = _texts(config.texts)
        rows, held = texts, _texts([config.dev]) if isinstance(config.dev, Path) else []
        if isinstance(config.dev, float):
            rows, held = _part(texts, [text for _, text in texts], config.dev)
        if not rows:
            raise InputError("there is no text to learn", remedy="name files with text under texts")
        privacy.demand(((id, [text]) for id, text in (*rows, *held)), config.private)
        return base, Lessons(texts=rows, dev_texts=held, window=config.window)
    records = _learnable(config.data)
    rest: Sequence[Record] = []
    if isinstance(config.dev, Path):
        rest = _learnable([config.dev])
        known = {record.content for record in rest}
        records = [record for record in records if record.content not in known]
    elif isinstance(config.dev, float):
        records, rest = _part(records, [record.question for record in records], config.dev)
    if not records:
        raise InputError("there is no row to learn from", remedy="name a file with rows under data")
    talks, dev_talks = _talks(records), _talks(rest)
    privacy.demand(privacy.conversations((*talks, *dev_talks)), config.private)
    return base, Lessons(talks, dev_talks, window=config.window)


def _learnable(paths: Sequence[Path]) -> list[Record]:
    out = []
    for record in read_records(paths):
        if not record.messages:
            raise InputError(
                f"row {record.id} is plain text, not a conversation", remedy="name such files under texts, not data"
            )
        answers = [message for message in record.messages if message.role == "assistant"]
        if answers and not any(message.learn for message in answers):
            continue  # what the row says not to learn: weight 0, or an undesirable answer
        if not any(message.content.strip() for message in answers):
            raise InputError(
                f"row {record.id} has no answer to learn", remedy="fill it in, or remove it: rung data clean --help"
            )
        out.append(record)
    return out


def _talks(records: Sequence[Record]) -> list[Talk]:
    """Unique ids; an empty assistant turn of a longer conversation is shown, not learnt."""
    out: list[Talk] = []
    for place, record in enumerate(records):
        turns = [replace(m, learn=m.learn and bool(m.content.strip())) for m in record.messages]
        id = f"{place}:{record.id}"
        out += as_served(id, turns, record.tools) if record.tools else [(id, turns)]
    return out


def as_served(id: str, turns: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Talk]:
    """A conversation that offers tools as the embedded engine would hold it: the tools described in the system message,
    and each reply one JSON object, a call or an answer, so that what is learnt is what is asked. One conversation a
    reply that is learnt, as earlier answers are shown without their JSON."""
    out: list[Talk] = []
    shown: list[Message] = []
    waiting: list[str] = []
    for turn in turns:
        if turn.role == "tool":
            shown.append(replace(turn, tool_call_id=waiting.pop(0) if waiting else turn.tool_call_id))
            continue
        if turn.role != "assistant":
            shown.append(turn)
            continue
        said, found = split_calls(turn.content)
        documents = [{"tool": call["name"], "arguments": call.get("arguments", {})} for call in found]
        if turn.learn:
            reply = "\n".join(json.dumps(one, ensure_ascii=False) for one in documents or [{"answer": said}])
            out.append((f"{id}#{len(out)}", [*with_tools(shown, tools), Message("assistant", reply)]))
        calls = tuple(ToolCall(call_id(one), str(one["tool"]), one["arguments"]) for one in documents)
        waiting += [call.id for call in calls]
        shown.append(Message("assistant", said, tool_calls=calls, learn=False))
    return out


def _texts(paths: Sequence[Path]) -> list[tuple[str, str]]:
    return [(document.id, document.text) for source in scan(paths) for document in read_documents(source)]


def _part(items: Sequence[T], keys: Sequence[str], share: float) -> tuple[list[T], list[T]]:
    """Items by the hash of their key: the same key always falls on the same side, so that no question is on both."""
    first: list[T] = []
    second: list[T] = []
    for item, key in zip(items, keys, strict=True):
        drawn = int.from_bytes(hashlib.blake2b(key.strip().lower().encode(), digest_size=6).digest(), "big") / 2**48
        (second if drawn < share else first).append(item)
    if not first:  # all have one key
        return second, []
    if not second and len(first) > 1:
        second.append(first.pop())
    return first, second
