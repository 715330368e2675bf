"""The built-in packs: what their cards promise holds for the data as shipped."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections import Counter
from datetime import date
from itertools import combinations
from typing import Any

import jsonschema
import pytest
import yaml

from rung.core.types import Example, Split, Task
from rung.tasks import load, locate, validate
from rung.tasks.identity import identity
from rung.tasks.packs.corpus import read_stdlib

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
DAY_MONTH = rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ((?:{MONTHS})[a-z]*)\b"
MONTH_DAY = rf"\b((?:{MONTHS})[a-z]*)\.? (\d{{1,2}})(?:st|nd|rd|th)?\b"
SIZES = {"support-intent": (280, 90, 190), "support-extract": (200, 60, 160), "stdlib-qa": (120, 50, 130)}


@pytest.fixture(scope="module")
def packs() -> dict[str, Task]:
    return {name: load(name) for name in SIZES}


def written(example: Example) -> str:
    return " ".join(value for name, value in example.input.items() if name != "today")


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = identity(text).split()
    return frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset([tuple(words)])


def everything(task: Task) -> list[Example]:
    return [example for name in SPLITS for example in task.split(name)]


@pytest.mark.parametrize("name", SIZES)
def test_pack_loads_without_a_single_problem(name: str, packs: dict[str, Task]) -> None:
    assert validate(name) == []
    task = packs[name]
    assert tuple(len(task.split(split)) for split in SPLITS) == SIZES[name]
    assert task.licence == "Apache-2.0"
    assert task.instruction
    assert task.constraints
    assert task.persona
    assert len({example.id for example in everything(task)}) == sum(SIZES[name])


@pytest.mark.parametrize("name", SIZES)
def test_no_text_comes_twice_or_nearly_so(name: str, packs: dict[str, Task]) -> None:
    texts = [written(example) for example in everything(packs[name])]
    assert len({identity(text) for text in texts}) == len(texts)
    sets = [shingles(text) for text in texts]
    close = [
        (texts[a], texts[b])
        for a, b in combinations(range(len(texts)), 2)
        if len(sets[a] & sets[b]) >= 0.5 * len(sets[a] | sets[b])
    ]
    assert close == []


@pytest.mark.parametrize("name", SIZES)
def test_card_gives_the_counts_and_the_licence(name: str) -> None:
    card = (locate(name).parent / "CARD.md").read_text(encoding="utf-8")
    for count in SIZES[name]:
        assert re.search(rf"\b{count}\b", card)
    assert "Apache-2.0" in card
    assert "language model" in card


@pytest.mark.parametrize("name", SIZES)
def test_rules_name_what_the_answer_has(name: str, packs: dict[str, Task]) -> None:
    task = packs[name]
    known = set(task.form.labels) if task.form.kind == "labels" else set(task.form.schema.get("properties", ()))
    assert set(task.rules) == (known if task.form.kind != "text" else set())


def test_intents_are_balanced_and_explained(packs: dict[str, Task]) -> None:
    task = packs["support-intent"]
    assert len(task.form.labels) == 14
    assert set(task.label_notes) == set(task.form.labels)
    counts = Counter(example.reference for example in everything(task))
    assert set(counts) == set(task.form.labels)
    assert all(36 <= count <= 44 for count in counts.values())
    for split, share in zip(SPLITS, (0.5, 90 / 560, 190 / 560), strict=True):
        here = Counter(example.reference for example in task.split(split))
        assert all(abs(here[label] - counts[label] * share) <= 1 for label in counts)
    lengths = sorted(len(written(example).split()) for example in everything(task))
    assert lengths[0] <= 4
    assert lengths[-1] >= 50


def test_order_forms_keep_the_schema_and_copy_the_message(packs: dict[str, Task]) -> None:
    task = packs["support-extract"]
    validator = jsonschema.Draft202012Validator(dict(task.form.schema))
    for example in everything(task):
        form: dict[str, Any] = example.reference
        assert list(validator.iter_errors(form)) == [], example.id
        message = example.input["message"]
        copied = [form[field] for field in ("customer", "order_number", "city", "postcode")]
        copied += [item["product"] for item in form["items"]]
        for part in filter(None, copied):
            assert re.search(rf"(?<!\w){re.escape(part)}(?!\w)", message), (example.id, part)


def test_delivery_dates_agree_with_what_the_message_says(packs: dict[str, Task]) -> None:
    days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
    months = MONTHS.split("|")
    checked = Counter[str]()
    for example in everything(packs["support-extract"]):
        weekday, _, iso = example.input["today"].partition(" ")
        today = date.fromisoformat(iso)
        assert days[today.weekday()] == weekday.lower()
        if example.reference["delivery_date"] is None:
            continue
        wanted = date.fromisoformat(example.reference["delivery_date"])
        message = example.input["message"].lower()
        assert 0 <= (wanted - today).days <= 60, example.id
        named = [day for day in days if day in message]
        dated = re.search(f"{DAY_MONTH}|{MONTH_DAY}", message)
        if named and not dated and "tomorrow" not in message and not re.search(r"\d\.\d|\d(?:st|nd|rd|th)\b", message):
            assert days[wanted.weekday()] in named, example.id
            assert (
                "next week" in message or "of next week" in message or 1 <= (wanted - today).days <= 7 or len(named) > 1
            )
            checked["weekday"] += 1
        dates = {(int(day), months.index(month[:3])) for day, month in re.findall(DAY_MONTH, message)}
        dates |= {(int(day), months.index(month[:3])) for month, day in re.findall(MONTH_DAY, message)}
        if dates and not named and "today" not in message:
            assert (wanted.day, wanted.month - 1) in dates, example.id
            checked["date"] += 1
        if "day after tomorrow" in message and "removal van" not in message:
            assert (wanted - today).days == 2, example.id
            checked["relative"] += 1
    assert checked["weekday"] >= 70
    assert checked["date"] >= 40
    assert checked["relative"] >= 3


def resolve(name: str) -> Any:
    """The object a dotted name stands for; a built-in goes by its bare name."""
    parts = name.split(".")
    for cut in range(len(parts), -1, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]) if cut else "builtins")
        except ImportError:
            continue
        try:
            for part in parts[cut:]:
                found = getattr(found, part)
        except AttributeError:
            continue
        return found
    raise AssertionError(f"there is no {name}")


def exists(name: str) -> bool:
    try:
        resolve(name)
    except AssertionError:
        return False
    return True


def test_no_source_object_straddles_the_splits(packs: dict[str, Task]) -> None:
    task = packs["stdlib-qa"]
    sources = [{example.metadata["source"] for example in task.split(split)} for split in SPLITS]
    assert all(not a & b for a, b in combinations(sources, 2))


def test_answers_are_true_of_this_interpreter(packs: dict[str, Task]) -> None:
    """Names exist, defaults and parameters are those of the signature, values and exceptions come out when tried."""
    kinds = Counter[str]()
    for example in everything(packs["stdlib-qa"]):
        source, kind, check = (str(example.metadata[key]) for key in ("source", "kind", "check"))
        answers = [example.reference] if isinstance(example.reference, str) else list(example.reference)
        thing = resolve(source)
        kinds[kind] += 1
        if kind == "name":
            assert answers[0] == source
            full = [answer for answer in answers if exists(answer)]  # besides the source, others that do the same
            for answer in answers:  # and their shorter forms
                assert any(name == answer or name.endswith(f".{answer}") for name in full), (source, answer)
        elif kind == "module":
            assert inspect.ismodule(thing)
            assert answers == [source]
        elif kind == "default":
            default = inspect.signature(thing).parameters[check].default
            assert answers[0] in (str(default), repr(default).strip("'")), (source, default)
        elif kind == "parameter":
            try:
                assert check in inspect.signature(thing).parameters, source
            except ValueError:  # built in, without a signature that inspect can read
                assert re.search(rf"\b{check}\b", thing.__doc__ or ""), source
            assert answers[0] == check
        else:
            top = {part for part in re.findall(r"\b([a-z]\w*)\.", check) if importlib.util.find_spec(part)}
            names = {part: importlib.import_module(part) for part in top}
            try:
                value: Any = eval(check, names) if check else None
            except Exception as error:
                value = type(error).__name__
            assert kind in ("value", "exception")
            if check:
                assert str(value) in answers, (source, value)
    assert kinds["name"] >= 200
    assert sum(kinds.values()) - kinds["name"] >= 50


def test_corpus_is_large_steady_and_holds_the_sources(packs: dict[str, Task]) -> None:
    task = packs["stdlib-qa"]
    passages = read_stdlib()
    assert len(passages) >= 2000
    assert list(passages) == sorted(passages)
    assert passages == read_stdlib()
    assert dict(task.passages) == passages
    assert not any(re.search(r" at 0x[0-9a-f]{6}", text) for text in passages.values())
    sources = {str(example.metadata["source"]) for example in everything(task)}
    # Later versions may drop a docstring; all 300 were there on 3.11, 3.12 and 3.13.
    assert len(sources - set(passages)) <= 0.03 * len(sources)


def test_data_files_are_plain_jsonl_in_frozen_splits() -> None:
    for name, sizes in SIZES.items():
        task_file = locate(name)
        definition = yaml.safe_load(task_file.read_text(encoding="utf-8"))
        rows = [
            json.loads(line)
            for line in (task_file.parent / definition["data"]).read_text(encoding="utf-8").splitlines()
        ]
        assert Counter(row["split"] for row in rows) == dict(zip(SPLITS, sizes, strict=True))
        assert not (task_file.parent / f"{name}.splits.json").exists()


def test_plain_requests_ask_every_kind_of_instruction_and_can_be_kept() -> None:
    from rung.metrics.rules.instructions import KINDS, read_instructions

    task = load("plain-requests")
    assert validate("plain-requests") == []
    assert [len(task.split(split)) for split in SPLITS] == [8, 8, 40]
    asked = {example.id: read_instructions(example.reference) for example in everything(task)}
    counts = [sum(len(asked[example.id]) for example in task.split(split)) for split in SPLITS]
    card = (locate("plain-requests").parent / "CARD.md").read_text(encoding="utf-8")
    assert all(f"| {split} | {n} | {c} |" in card for split, n, c in zip(SPLITS, (8, 8, 40), counts, strict=True))
    assert {one.kind for example in task.test for one in asked[example.id]} == set(KINDS)
    assert len({identity(written(example)) for example in everything(task)}) == 56
