"""Every rule fires where it should, stays quiet where it should, and points at the place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError
from rung.core.types import Example
from rung.prompts.lint import rules as table
from rung.prompts.lint.lint import LintReport, lint, lint_prompt, lint_source, lint_template
from rung.prompts.template import library
from rung.prompts.template.files import read
from rung.prompts.template.prompt import Prompt


def rules(report: LintReport) -> set[str]:
    return {finding.rule for finding in report.findings}


def test_the_two_prompts_of_the_sheet() -> None:
    vague, plain = lint("Tell me about planets"), lint("List the planets in the solar system in order from the sun.")
    assert vague.errors
    assert "vague-task" in rules(vague)
    assert plain.findings == ()
    assert plain.score == 100
    assert vague.score < 70


@pytest.mark.parametrize(
    ("text", "rule", "words"),
    [
        ("Write about dogs in one sentence.", "vague-task", "Write about dogs in one sentence"),
        ("List some countries.", "vague-word", "some"),
        ("List three good countries.", "vague-word", "good"),
        ("Answer in one sentence, in detail.", "vague-word", "in detail"),
        ("Summarize this in one sentence.", "ambiguous-reference", "this"),
        ("List the items. Then sort as before.", "ambiguous-reference", "as before"),
        ("Be brief. Write a comprehensive list of three rules.", "conflict", "comprehensive"),
        ("Answer with JSON. Use bullet points.", "conflict", "bullet points"),
        ("Answer with the label and nothing else. Explain why.", "conflict", "Explain why"),
        ("Name exactly one label. Name all that apply.", "conflict", "all that apply"),
        ("Use at most 10 words. Use at least 20 words.", "conflict", "at least 20 words"),
        ("Answer in English. List two. Reply in French.", "conflict", "Reply in French"),
        ("Always use the name. List two. Never use the name.", "conflict", "Never use the name"),
        ("Answer with one word: {question}", "injection-prone", "{question}"),
        ("Answer with one word.\nText: {{ text }}", "injection-prone", "{{ text }}"),
        ("Describe the planet.", "missing-format", "Describe the planet."),
        ("Describe the planet.", "missing-constraints", "Describe the planet."),
        ("   ", "empty", ""),
        ("List two. " + "word " * 70 + ".", "long-sentence", None),
    ],
)
def test_a_rule_fires_and_points_at_the_words(text: str, rule: str, words: str | None) -> None:
    (found, *_) = [finding for finding in lint(text).findings if finding.rule == rule]
    assert words is None or found.text == words
    assert text[found.start : found.end] == found.text
    assert found.line == text.count("\n", 0, found.start) + 1
    assert found.reason
    assert found.rewrite


@pytest.mark.parametrize(
    "text",
    [
        "Read the message and sort it into one of the two labels.",
        "Say which one intent the message has: what the customer wants the shop to do now.",
        "Answer with one word, at most 10 characters. Do not explain.",
        "Answer the question between the tags with one word.\n<question>\n{question}\n</question>",
        'Translate "{{ text }}" into French. Answer with the translation only.',
        "Write at least 5 words and at most 20 words in one paragraph.",
        "Count the errors that occur in the log. Answer with one number.",
        "Explain step by step why the sky is blue in three sentences.",
    ],
)
def test_plain_prompts_pass(text: str) -> None:
    assert lint(text).findings == ()


def parts(**changes: object) -> Prompt:
    prompt = Prompt("Say the intent.", format="Answer with one label.")
    for part, value in changes.items():
        prompt = prompt.replace(part, value)
    return prompt


def shots(*pairs: tuple[str, str]) -> list[Example]:
    return [Example("", {"text": text}, output) for text, output in pairs]


@pytest.mark.parametrize(
    ("prompt", "labels", "rule"),
    [
        (parts(examples=shots(("a", "refnd"))), ("refund", "cancel"), "example-label"),
        (parts(examples=shots(("a", "x"), ("a", "y"))), (), "example-conflict"),
        (parts(examples=shots(("a", "x"), ("a", "x"))), (), "example-repeat"),
        (parts(instruction="Answer with one word.", examples=shots(("a", "two words"))), (), "example-format"),
        (parts(instruction="Answer yes or no.", examples=shots(("a", "maybe"))), (), "example-format"),
        (parts(format="Answer with JSON.", examples=shots(("a", "{'a': 1}"))), (), "example-format"),
        (parts(examples=shots(("a", "One."), ("b", "Two."), ("c", "Three"))), (), "example-style"),
        (parts(constraints=["A lost parcel is lost_parcel."]), ("parcel_lost", "refund"), "unknown-label"),
        (parts(), ("refund", "cancel"), "labels-unsaid"),
        (parts(format="Answer with refund."), ("refund", "cancel"), "labels-unsaid"),
        (parts(instruction=""), (), "missing-instruction"),
        (parts(persona="As a clerk with ten years of practice."), (), "persona-form"),
    ],
)
def test_parts_and_examples(prompt: Prompt, labels: tuple[str, ...], rule: str) -> None:
    assert rule in rules(lint_prompt(prompt, labels))


def test_good_parts_and_examples_pass() -> None:
    prompt = parts(
        persona="a clerk",
        constraints=["A lost parcel is parcel_lost."],
        examples=shots(("a", "parcel_lost"), ("b", "refund")),
    )
    assert lint_prompt(prompt, ("parcel_lost", "refund")).findings == ()
    noted = parts(format="Answer with exactly one of these labels:\n- refund: wants some money for something")
    assert lint_prompt(noted, ("refund",)).findings == ()


TEMPLATE = """---
name: t
variables: {{text: string, tone: {tone}}}
---
system:
Answer with one word in a {{{{ tone }}}} tone.

user:
{{{{ text }}}}
"""


def test_a_template_is_read_with_its_variables() -> None:
    raw = TEMPLATE.format(tone="string")
    report = lint_template(library.read(read(raw)).flat, raw)
    (found,) = report.findings
    assert (found.rule, found.level, found.line, found.column) == ("injection-prone", "error", 6, 27)
    assert raw[found.start : found.end] == "{{ tone }}"
    for safe in ("{type: string, trusted: true}", "integer"):
        raw = TEMPLATE.format(tone=safe)
        assert lint_template(library.read(read(raw)).flat, raw).findings == ()


def test_files_tasks_and_texts(tmp_path: Path) -> None:
    title, report = lint_source("support-intent")
    assert title.endswith("task.yaml")
    assert rules(report) == set()
    task = Path(title).read_text(encoding="utf-8").replace("You have answered", "As one who has answered")
    for file in Path(title).parent.glob("*.jsonl"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "task.yaml").write_text(task, encoding="utf-8")
    title, report = lint_source(str(tmp_path / "task.yaml"))
    assert rules(report) == {"persona-form"}
    line = Path(title).read_text(encoding="utf-8").splitlines()[report.findings[0].line - 1]
    assert line.strip().startswith("As one")
    (tmp_path / "p.md").write_text("---\nname: p\nvariables: {text: string}\n---\nTell me about {{ txt }}.")
    _, report = lint_source(str(tmp_path / "p.md"))
    assert rules(report) == {"template"}
    (tmp_path / "p.md").write_text("---\nname: p\nvariables: {text: string}\n---\nTell me about planets.")
    _, report = lint_source(str(tmp_path / "p.md"))
    assert ("vague-task", 5, 1) in {(f.rule, f.line, f.column) for f in report.findings}
    (tmp_path / "p.txt").write_text("Tell me about planets.")
    assert "vague-task" in rules(lint_source(str(tmp_path / "p.txt"))[1])
    assert "vague-task" in rules(lint_source("Tell me about planets.")[1])
    with pytest.raises(InputError, match="no such file"):
        lint_source("missing.md")
    (tmp_path / "task.yaml").write_text("name: x\n")
    with pytest.raises(InputError, match="has mistakes"):
        lint_source(str(tmp_path))


@given(st.text(max_size=300))
def test_any_text_has_a_report_with_places_in_it(text: str) -> None:
    report = lint(text)
    assert 0 <= report.score <= 100
    assert (report.score == 100) == (not report.findings)
    for finding in report.findings:
        assert text[finding.start : finding.end] == finding.text
        assert finding.line >= 1
        assert finding.column >= 1


def test_a_rule_that_fires_often_costs_at_most_twice() -> None:
    many = lint("List some some some some some some things.")
    assert many.score >= 100 - 2 * table.rules()["points"]["warning"] - 2 * table.rules()["points"]["hint"]


def test_a_long_text_is_linted_at_once() -> None:
    import time

    for text in (
        "List " + "some " * 20_000,
        "{" * 20_000,
        "always use the name. " * 300 + "never use the name. " * 300,
    ):
        started = time.process_time()
        lint(text)
        assert time.process_time() - started < 3
