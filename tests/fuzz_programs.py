"""Kinds of fuzzed inputs: program folders and prompt templates from elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.parts.program import attempt
from rung.core.protocols import Program
from rung.core.types import Example, ResponseFormat, Sampling
from rung.foundations.baselines.nearest import NearestProgram
from rung.foundations.baselines.rules import FieldRulesProgram, RulesProgram
from rung.models.providers.fake import Fake
from rung.prompts.patterns.asking.outline import Outline, OutlineProgram
from rung.prompts.patterns.checking.checked.program import CheckedProgram
from rung.prompts.patterns.checking.refine import RefinedProgram
from rung.prompts.patterns.checking.verify import VerifiedProgram
from rung.prompts.patterns.dialogue.flip import FlippedProgram
from rung.prompts.patterns.dialogue.quiz import QuizProgram
from rung.prompts.patterns.dialogue.recipe import RecipeProgram
from rung.prompts.patterns.judging.grade import GradedProgram
from rung.prompts.patterns.language.language import LanguageProgram
from rung.prompts.patterns.lookup.react import ReactProgram
from rung.prompts.program import Options, PromptProgram, Reasoning
from rung.prompts.select import Selector
from rung.prompts.template.files import read, write
from rung.prompts.template.prompt import Prompt
from rung.serving.endpoints.local import open_folder
from tests.fuzz import WORDS, Kind, mutate

PASSAGES = {"a": "Ann was born in 1815 in the town of Bern.", "b": "Bob was born in 1902 in the town of Rome."}
POOL = [Example(str(n), {"text": f"row {n}"}, "AB"[n % 2]) for n in range(6)]
TEMPLATE = """---
name: t
variables: {text: string, n: {type: integer, default: 2}}
parts: {persona: a clerk, constraints: [Be brief.]}
---
system:
{{ parts.system }}
user:
{% for i in range(n) %}{{ i }}: {{ text|trim }}{% endfor %}{% if text == "x" %}!{% endif %}
"""
JINJA = (b"{{", b"}}", b"{%", b"%}", b"{% for i in range(999) %}", b"{% endfor %}", b"|round(9999999)", b"**", b"|list", b"|tojson", b"text",
    b"parts.", b"root: t.md\n", b"user:\n", b"[text, text]", b"__class__", b"&a [*a]")  # fmt: skip


class Stub:
    """Resources with one model, whatever is asked for by a name that could be one."""

    def model(self, name: str | None = None) -> Fake:
        if name is not None and not name.partition(":")[2]:
            raise InputError(f"no model {name}", remedy="name one")
        return Fake()

    def embedder(self, name: str | None = None) -> Any:
        raise InputError(f"no embedder {name}", remedy="name one")


def _programs() -> Iterator[Program]:
    model, labels = Fake(), ResponseFormat("labels", labels=("A", "B"))
    prompt = PromptProgram(Prompt("Say.", examples=()), model, Options(labels), Selector("random", 2, POOL))
    yield prompt
    yield PromptProgram(read(TEMPLATE), model, Options(reasoning=Reasoning(votes=2)))
    schema = {"type": "object", "properties": {"n": {"type": "string", "pattern": "^a+$"}}}
    yield PromptProgram(Prompt("Say."), model, Options(ResponseFormat("json", schema=schema)))
    yield PromptProgram(
        Prompt("Say."), model, Options(ResponseFormat("regex", pattern="[a-z]+"), sampling=Sampling(stop=("x",)))
    )
    yield ReactProgram(model, passages=PASSAGES, limit=2)
    yield OutlineProgram(Outline(("One", "Two"), 40), model, pick="Two")
    yield CheckedProgram(model)
    yield RefinedProgram(prompt, model, ("text",))
    yield VerifiedProgram(prompt, model, ("text",), passages=PASSAGES)
    yield FlippedProgram(model, Prompt("Book."), options=Options(fields=("text", "city")), told=("text",))
    yield GradedProgram(prompt, model, ("text",))
    yield LanguageProgram(
        model, '<o> ::= "go " <w>\n<w> ::= "left" | /[a-z]+/', shots=(("x", "go left"),), actions={"o": "{1}"}
    )
    yield QuizProgram(model, passages=PASSAGES)
    yield RecipeProgram(model, rules=("be quick",), ways=2)
    yield RulesProgram([("A", [("row", 1.0)]), ("B", [("^b+", 2.0)])], "A")
    yield FieldRulesProgram({"n": ("([0-9]+)",)}, {"type": "object", "properties": {"n": {"type": "integer"}}})
    yield NearestProgram(["a b", "c d"], ["A", "B"], 1)


@cache
def _saved(at: Path) -> list[tuple[dict[str, Any], dict[str, bytes]]]:
    """Each program's document and its files."""
    out = []
    for number, program in enumerate(_programs()):
        folder = programs.save(program, at / f"seed-{number}", notes={"task": "t", "fields": ["text"]})
        document = json.loads((folder / "program.json").read_text())
        out.append((document, {name: (folder / name).read_bytes() for name in document["files"]}))
    return out


JUNK: tuple[Callable[[random.Random], Any], ...] = (
    lambda _: None, lambda _: True, lambda r: r.choice((-1, 0, 1, 64, 10**9, 10**40)), lambda r: r.choice((0.5, -1e300, float("1e308"))),
    lambda _: "", lambda r: r.choice(WORDS).decode("utf-8", "replace"), lambda r: r.choice(("../../etc/passwd", "/etc/passwd", "a/../..", "program.json")),
    lambda r: r.choice(("(a+)+$", "(?:a|a)*b", "[", "(" * 500, "(a{999}){999}", "{{ 9**99**99 }}", "{% for i in range(999) %}" * 3)),
    lambda _: [], lambda _: {}, lambda _: [[]], lambda _: {"kind": "prompt", "spec": {}}, lambda _: ["a", 1], lambda _: {"a": {"a": 1}},
    lambda r: r.choice(("prompt", "react", "outline", "refined", "rag", "linear", "nothing")), lambda _: "x" * 100_000,
)  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(inner, (*path, key))


def _changed(rng: random.Random, document: Any) -> Any:
    """The document with a place or two replaced, removed, or given its neighbour's value."""
    for _ in range(rng.choice((1, 1, 2))):
        places = list(_places(document))
        path = rng.choice(places)
        owner = document
        for key in path[:-1]:
            owner = owner[key]
        match rng.randrange(4):
            case 0 if isinstance(owner, dict):
                del owner[path[-1]]
            case 1:
                other: Any = document
                for key in rng.choice(places):
                    other = other[key]
                owner[path[-1]] = json.loads(json.dumps(other))
            case _:
                owner[path[-1]] = rng.choice(JUNK)(rng)
    return document


def _program(rng: random.Random, folder: Path) -> str:
    document, files = rng.choice(_saved(folder))
    document, files = json.loads(json.dumps(document)), dict(files)
    if files and rng.random() < 0.3:
        name = rng.choice(sorted(files))
        files[name] = mutate(rng, files[name])
        document["files"][name] = hashlib.sha256(files[name]).hexdigest()
    else:
        document = _changed(rng, document)
    place = folder / "program"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, data in files.items():
        (place / name).write_bytes(data)
    text = json.dumps(document).encode()
    (place / "program.json").write_bytes(mutate(rng, text) if rng.random() < 0.2 else text)
    opened = open_folder(place, Stub())
    input = dict.fromkeys(opened.fields, "row 3")
    answer = asyncio.run(attempt(opened.program, input))
    json.dumps([answer.output, answer.raw], default=str)
    return f"failed {answer.failure.where}" if answer.failure is not None else "answered"


def _template(rng: random.Random, folder: Path) -> str:
    text = mutate(rng, TEMPLATE.encode(), (*WORDS, *JINJA)).decode("utf-8", "replace")
    template = read(text, rng.choice(("rung", "prompty"))).flat().check()
    template.render(dict.fromkeys(template.required, "x"))
    write(template)
    return "rendered"


KINDS: dict[str, Kind] = {"program": _program, "template": _template}
