"""The space of replies: whatever the model writes, the answer it names is read, or none is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.text.reply import read_reply
from rung.core.types import ResponseFormat

LABELS = ResponseFormat("labels", labels=("late", "late fee", "lost card", "Other"))
LETTERS = ResponseFormat("labels", labels=("A", "B", "C", "D"))
SIGNS = ResponseFormat("labels", labels=("C", "C++", "C#", ".NET"))
UNSPACED = ResponseFormat("labels", labels=("迟到", "丢失"))
SCHEMA = ResponseFormat(
    "json",
    schema={
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    },
)

WRAPPINGS = [
    "{}", " {}.\n", "'{}'", "**{}**", "- {}", "* {}", "# {}", "> {}", "`{}`", "```\n{}\n```", "```text\n{}\n```", "“{}”", "[{}]",
    "({})", "Answer: {}", "**Answer:** {}", "The answer is {}.", "Final answer:\n{}", "Label = {}", "\\boxed{{{}}}", '{{"answer": "{}"}}',
    '```json\n{{"label": "{}", "why": "it is no other"}}\n```', '["{}"]', "<answer>{}</answer>", "<think>\nlost card?\n</think>\n{}",
    "lost card or Other?</think>{}", "I would say: {}", "Best fit:\n\n{}\n\nIt is not one of the rest, such as lost card.",
]  # fmt: skip


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("label", ["late", "late fee", "Other"])
def test_a_label_is_read_in_every_wrapping(wrapping: str, label: str) -> None:
    for spelled in (label, label.upper(), label.replace(" ", "  ")):
        assert read_reply(LABELS, wrapping.format(spelled)) == (label, "")


@pytest.mark.parametrize(
    "text",
    [
        "late (not late fee)", "late fee rather than late", "late or lost card", "late, Other", "late\nOther", "not late", "It isn't late.",
        "neither late nor lost card", "never late", "lateness", "too-late", "late/Other", "late_fee", "", "???", "I cannot say",
        '{"answer": "late", "second": "Other"}', '["late", "Other"]', '{"answer": "la', '{"answer": "soon"}', "Answer: late\nAnswer: Other",
        "hardly late", "far from late", "anything but late", "it lacks a late fee", "late? No.", "late: false", "late is wrong, I fear", "late isn't it",
        "late can be ruled out", "some other matter", '{"answer": ["late", "Other"]}', "rarely late",
        "<think>late</think>", "<think>late", "<think>late</think>\nno idea", "es ist nicht late", "anything other than late",
    ],
)  # fmt: skip
def test_a_label_is_not_guessed(text: str) -> None:
    label, why = read_reply(LABELS, text)
    assert label is None
    assert why


@pytest.mark.parametrize(
    ("form", "text", "label"),
    [
        (LETTERS, "b)", "B"), (LETTERS, "(C) Oslo", "C"), (LETTERS, "So the answer is D.", "D"), (LETTERS, "It was a fine day", None),
        (LETTERS, "A or B", None), (LETTERS, "I pick option C", "C"), (SIGNS, "C++", "C++"), (SIGNS, "c#", "C#"), (SIGNS, "C", "C"),
        (SIGNS, "I use C++.", "C++"), (SIGNS, ".net", ".NET"), (UNSPACED, "结果是迟到。", "迟到"), (UNSPACED, "不是迟到", None),
        (UNSPACED, "迟到或丢失", None), (ResponseFormat("labels", labels=("Café", "bar")), "CAFE\u0301", "Café"),
        (ResponseFormat("labels", labels=("ok", "OK")), "OK", "OK"), (ResponseFormat("labels", labels=("ok", "OK")), "Ok", None),
        (ResponseFormat("labels", labels=("1", "2", "3")), "2 out of 3", None), (ResponseFormat("labels", labels=("1", "2")), "1.5", None),
        (ResponseFormat("labels", labels=("yes", "no")), "No, it does not.", "no"),
        (ResponseFormat("labels", labels=("yes", "no")), "I have no idea", None), (LETTERS, "A person asks for help", None),
        (LETTERS, "A is right", "A"), (ResponseFormat("labels", labels=("on_time", "time")), "on\\_time", "on_time"),
        (ResponseFormat("labels", labels=("late", "soon")), "la\u00adte\u200b", "late"), (LETTERS, '{"why": "A", "answer": "B"}', None),
        (ResponseFormat("labels", labels=("1", "2", "3")), "between 2 and 4", None),
        (ResponseFormat("labels", labels=("supported", "not supported")), "It is not supported.", "not supported"),
    ],
)  # fmt: skip
def test_labels_of_odd_kinds(form: ResponseFormat, text: str, label: str | None) -> None:
    assert read_reply(form, text)[0] == label


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"n": 2}', {"n": 2}),
        ('Sure!\n```json\n{"n": 2}\n```\nAnything else?', {"n": 2}),
        ('as in {name} or [1]: {"n": 2}', {"n": 2}),
        ('{"n": 2}\n{"n": 2}', {"n": 2}),
        ('{"draft": true} then {"n": 2}', {"n": 2}),
        ('<think>{"n": 9}</think>{"n": 2}', {"n": 2}),
        ('{"n": 1} or {"n": 2}', None),
        ('{"outer": {"n": 2}', None),
        ('[{"n": 2}]', None),
        ('{"n": 1, "n": 2}', None),
        ('{"n": Infinity}', None),
        ('{"n": 2e999}', None),
        ('{"n": 2,}', None),
        ("{'n': 2}", None),
        ('{"n": ' + "7" * 6000 + "}", None),
        ("{" * 5000, None),
        ("[" * 50_000, None),
        ("nothing", None),
    ],
)
def test_json(text: str, value: Any) -> None:
    found, why = read_reply(SCHEMA, text)
    assert found == value
    assert (found is None) == bool(why)


def test_a_schema_opens_no_address_and_its_patterns_end() -> None:
    for schema in (
        {"$ref": "http://127.0.0.1:1/s.json"},
        {"$ref": "#"},
        {"properties": {"n": {"pattern": "(?:b|b)*c"}}},
    ):
        found, why = read_reply(ResponseFormat("json", schema=schema), '{"n": "' + "b" * 70 + '"}')
        assert found is None
        assert why


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('{"answer": 2.5e-8}', "2.5e-08"),
        ('{"answer": "1,024"}', "1024"),
        ("<think>3 or 4</think> 4", "4"),
        ("3 <think>4", "3"),
        ('{"answer": 4', None),
        ('{"answer": 4, "confidence": 0.8}', "4"),
        ('{"steps": [1, 2], "value": "7"}', "7"),
        ('{"low": 4, "high": 5}', None),
    ],
)
def test_numbers(text: str, number: str | None) -> None:
    assert read_reply(ResponseFormat("number"), text)[0] == number


@pytest.mark.parametrize(
    ("text", "match"),
    [("AB-12", "AB-12"), ("It is AB-12.", "AB-12"), ("AB-12 or AB-13", None), ("AB-123", None), ("xAB-12", None)],
)
def test_patterns(text: str, match: str | None) -> None:
    assert read_reply(ResponseFormat("regex", pattern=r"[A-Z]{2}-\d\d"), text)[0] == match


def test_free_text_is_what_follows_the_reasoning() -> None:
    assert read_reply(ResponseFormat(), "<think>hm</think>\n\n A text. ") == ("A text.", "")
    assert read_reply(ResponseFormat(), "<think>hm")[0] is None
    assert read_reply(ResponseFormat(), " ")[0] is None


FORMS = [
    LABELS,
    LETTERS,
    SIGNS,
    SCHEMA,
    ResponseFormat("number"),
    ResponseFormat("regex", pattern="b+c"),
    ResponseFormat(),
]


@given(st.text(max_size=60), st.sampled_from(FORMS))
def test_nothing_raises(text: str, form: ResponseFormat) -> None:
    found, why = read_reply(form, text)
    assert (found is None) == bool(why)


@given(
    st.lists(
        st.sampled_from([*'<>/{}[]":,.- \n', "think", "late", "fee", "Other", "not", "answer", "1", "A"]), max_size=30
    ),
    st.sampled_from(FORMS),
)
def test_nothing_made_of_the_signs_that_matter_raises(parts: list[str], form: ResponseFormat) -> None:
    found, why = read_reply(form, "".join(parts))
    assert (found is None) == bool(why)
    if form.kind == "labels" and found is not None:
        assert found in form.labels


@pytest.mark.parametrize(
    ("labels", "reply", "label"),
    [
        (("follow-up", "new"), "The answer is follow\u2011up.", "follow-up"),
        (("don't know", "new"), "I would say: don\u2019t know", "don't know"),
        (("-1", "1"), "\u22121", "-1"),
        (("iyi", "kötü"), "İYİ", "iyi"),
        (("iyi", "kötü"), "iyi değil", None),
        (("สวย", "แย่"), "ไม่ใช่สวย", None),
        (("جيد", "سيئ"), "غير جيد", None),
        (("अच्छा", "बुरा"), "अच्छा नहीं है", None),
        (("ポジティブ", "ネガティブ"), "ポジティブではありません", None),
        (("goed", "slecht"), "niet goed", None),
        (("tốt", "xấu"), "không tốt", None),
    ],
)
def test_signs_and_denials_of_other_hands_and_languages(labels: tuple[str, ...], reply: str, label: str | None) -> None:
    assert read_reply(ResponseFormat("labels", labels=labels), reply)[0] == label
