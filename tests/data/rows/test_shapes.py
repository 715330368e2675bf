"""Every form in, every form out: the same row again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.types import Message, ToolSpec
from rung.data.read import read
from rung.data.rows import shapes
from rung.data.rows.forms import UNLEARNT
from rung.data.rows.records import Record, RowError
from rung.data.rows.turns import split_calls

ROWS: dict[str, list[dict[str, Any]]] = {
    "messages": [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "id": 7},
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "w", "arguments": "{}"}}],
                },
                {"role": "tool", "content": "sun", "tool_call_id": "1"},
                {"role": "assistant", "content": "Sunny."},
            ],
            "tools": [{"name": "w"}],
        },
    ],
    "sharegpt": [
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "system": ""},
        {
            "system": "Use tools.",
            "conversations": [
                {"from": "human", "value": "2+2"},
                {"from": "function_call", "value": '{"name": "add"}'},
                {"from": "observation", "value": "4"},
                {"from": "gpt", "value": "4"},
            ],
            "tools": "[]",
        },
    ],
    "preference": [
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
        {"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "A"}, "rejected": {"from": "gpt", "value": "B"}},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nthere", "rejected": "\n\nHuman: Hi\n\nAssistant: No"},
        {"prompt": "One?", "chosen": [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"}], "rejected": [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "2"}], "score_chosen": 9},
        {"system": "Count.", "question": "One?", "chosen": "1", "rejected": "2"},
        {"input": {"messages": [{"role": "user", "content": "One?"}], "tools": [{"name": "w"}]}, "preferred_output": [{"role": "assistant", "content": "1"}], "non_preferred_output": [{"role": "assistant", "content": "2"}]},
    ],
    "instruction": [
        {"instruction": "Add", "input": "", "output": "3"},
        {"instruction": "Add", "input": "1 2", "output": "3", "topic": "sums"},
        {"instruction": "Add", "context": "1 2", "response": "3", "category": "qa"},
        {"instruction": "Now?", "input": "", "output": "Yes", "system": "Be kind", "history": [["Then?", "No"]]},
    ],
    "columns": [
        {"id": "s1", "title": "Barns", "context": "The barn is blue.", "question": "Which colour?", "answers": {"text": ["blue", "Blue"], "answer_start": [12, 12]}},
        {"question": "Open?", "answer": False, "topic": 3},
    ],
    "prompt": [{"prompt": "Hi", "completion": "Hello"}, {"prompt": "Hi", "completion": "Go away", "label": False}, {"system": "Be kind", "prompt": "Hi", "completion": "Hello"},
        {"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Hello"}]}, {"prompt": "Hi", "response": "Hello", "score": 1}],
    "text": [{"text": "plain", "page": 3}],
}  # fmt: skip


@pytest.mark.parametrize("name", list(ROWS))
def test_round_trip(name: str) -> None:
    for row in ROWS[name]:
        record = shapes.read(row, "r", {"file": "f", "line": 1})
        assert record.shape == name
        assert shapes.write(record, shapes.shape(name)) == row


def test_what_is_read() -> None:
    record = shapes.read(ROWS["instruction"][1], "r", {})
    assert [m.content for m in record.messages] == ["Add\n\n1 2", "3"]
    assert shapes.read(ROWS["instruction"][0], "r", {}).messages[0].content == "Add"  # an empty input adds nothing
    call = shapes.read(ROWS["sharegpt"][1], "r", {}).messages
    assert [m.role for m in call] == ["system", "user", "assistant", "tool", "assistant"]
    assert call[2].content == '<tool_call>\n{"name": "add"}\n</tool_call>'
    pair = shapes.read(ROWS["preference"][2], "r", {})
    assert (pair.question, pair.answer, pair.rejected) == ("Hi", "Hello\n\nthere", "No")


def _said(row: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [(m.role, m.content, m.learn) for m in shapes.read(row, "r", {}).messages]


def test_calls_of_tools_are_said_once_however_they_came() -> None:
    called = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    twice = f"{called}\n{called.replace('Rome', 'Bonn')}"
    rome, bonn = ({"name": "weather", "arguments": json.dumps({"city": city})} for city in ("Rome", "Bonn"))
    openai = [{"id": str(n), "type": "function", "function": call} for n, call in enumerate((rome, bonn))]
    result = {"role": "tool", "tool_call_id": "0", "content": "sun"}
    for row in (
        {"messages": [{"role": "assistant", "content": None, "tool_calls": openai}]},
        {"conversations": [{"from": "function_call", "value": json.dumps([rome, bonn])}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool_use", "id": str(n), "name": "weather", "input": {"city": city}}
                        for n, city in enumerate(("Rome", "Bonn"))
                    ],
                }
            ]
        },
    ):
        assert _said(row) == [("assistant", twice, True)]
    legacy = {"role": "assistant", "content": "I look.", "function_call": rome}
    assert _said({"messages": [legacy, {"role": "function", "name": "weather", "content": "sun"}]}) == [
        ("assistant", f"I look.\n{called}", True),
        ("tool", "sun", True),
    ]
    assert split_calls(twice) == ("", [{"name": "weather", "arguments": {"city": c}} for c in ("Rome", "Bonn")])
    assert split_calls(f"I look.\n{called}")[0] == "I look."
    assert split_calls("<tool_call>\nbroken\n</tool_call>") == ("<tool_call>\nbroken\n</tool_call>", [])
    # From one form to another: the calls and the tools go along.
    record = shapes.read(
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": openai[:1]}, result], "tools": [{"name": "weather"}]},
        "r", {},
    )  # fmt: skip
    other = shapes.write(record, shapes.shape("sharegpt"))
    assert [turn["from"] for turn in other["conversations"]] == ["human", "function_call", "observation"]
    assert shapes.read(other, "r", {}).spoken == record.spoken
    assert [tool.name for tool in record.tools] == ["weather"]


def test_anthropic_blocks_and_results() -> None:
    row = {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Sun"}, {"type": "text", "text": "ny?"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "tool_use", "name": "w", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "sun"}]}, {"type": "text", "text": "So?"}]},
        ],
        "tools": [{"name": "w", "description": "Weather", "input_schema": {"type": "object"}}],
    }  # fmt: skip
    record = shapes.read(row, "r", {})
    assert [(m.role, m.content) for m in record.messages] == [
        ("system", "Be brief."),
        ("user", "Sunny?"),
        ("assistant", '<tool_call>\n{"name": "w", "arguments": {}}\n</tool_call>'),
        ("tool", "sun"),
        ("user", "So?"),
    ]
    assert record.tools[0].schema == {"type": "object"}
    assert record.extra[UNLEARNT] == ["thinking of a message"]
    assert shapes.write(record) == row


def test_what_is_not_to_be_learnt() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d", "weight": 1}]  # fmt: skip
    assert [learn for role, _, learn in _said({"messages": turns}) if role == "assistant"] == [False, True]
    for row in (
        {"prompt": "a", "completion": "b", "label": False},
        {"prompt": "a", "completion": "b", "label": "False"},
        {"messages": [*turns[:1], {"role": "assistant", "content": "b"}], "label": False},
        {"instruction": "a", "output": "b", "kto_tag": False},
    ):
        assert _said(row)[-1] == ("assistant", "b", False)
    record = shapes.read({"prompt": "a", "completion": "b", "label": False}, "r", {})
    assert shapes.write(record, shapes.shape("messages"))["messages"][1] == {
        "role": "assistant",
        "content": "b",
        "weight": 0,
    }
    with pytest.raises(RowError) as caught:
        shapes.write(record, shapes.shape("instruction"))
    assert caught.value.code == "not-learnt"


def test_dialogues_of_a_pair_and_context_are_read_whole() -> None:
    turns = [
        {"role": r, "content": c} for r, c in (("user", "1?"), ("assistant", "1"), ("user", "2?"), ("assistant", "2"))
    ]
    worse = [*turns[:3], {"role": "assistant", "content": "3"}]
    for row in (
        {"prompt": "1?", "chosen": turns, "rejected": worse},
        {"prompt": turns[:3], "chosen": turns[3:], "rejected": worse[3:]},
        {"prompt": turns[:3], "chosen": turns, "rejected": worse},
        {"chosen": turns, "rejected": worse},
        {"prompt": "1?", "chosen": turns[1:], "rejected": worse[1:]},
        {"prompt": "Human: 1?\n\nAssistant: 1\n\nHuman: 2?", "chosen": "2", "rejected": "3"},
    ):
        record = shapes.read(row, "r", {})
        assert [m.content for m in record.messages] == ["1?", "1", "2?", "2"]
        assert record.rejected == "3"
        assert shapes.read(shapes.write(record, shapes.shape("preference")), "r", {}).spoken == record.spoken
    barn = {"context": "The barn is blue."}
    asked = shapes.read({"question": "Which colour?", "answer": "blue", **barn}, "r", {}).messages[0].content
    assert asked == "The barn is blue.\n\nWhich colour?"
    for empty in ({"input": ""}, {"input": None}, {}):
        asked = shapes.read({"instruction": "Which?", **empty, **barn, "response": "blue"}, "r", {}).messages[0].content
        assert asked == "Which?\n\nThe barn is blue."
    old = {"instruction": "And?", "input": "", "output": "c", "history": [["a?", "a"], ["b?", "b"]], "system": "S"}
    assert [content for _, content, _ in _said(old)] == ["S", "a?", "a", "b?", "b", "And?", "c"]


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda s: s.strip() != "")
call = st.builds(
    lambda name, arguments: f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}\n</tool_call>",
    words, st.dictionaries(words, st.one_of(words, st.integers(), st.lists(words, max_size=2)), max_size=2),
)  # fmt: skip
assistant = st.builds(Message, st.just("assistant"), st.one_of(words, call), learn=st.booleans())
exchange = st.tuples(st.builds(Message, st.just("user"), words), assistant)


@given(st.lists(exchange, min_size=1, max_size=3), st.booleans(), st.sampled_from(["messages", "sharegpt"]))
def test_any_conversation_survives_the_chat_forms(talk: list[tuple[Message, Message]], tools: bool, name: str) -> None:
    offered = (ToolSpec("w", "Weather", {"type": "object"}),) if tools else ()
    record = Record("r", tuple(m for pair in talk for m in pair), tools=offered, extra={"topic": 1})
    row = json.loads(json.dumps(shapes.write(record, shapes.shape(name))))
    again = shapes.read(row, "r", {})
    assert (again.shape, again.spoken, again.extra["topic"]) == (name, record.spoken, 1)
    assert shapes.write(again) == row


def test_one_form_into_another_keeps_the_words() -> None:
    """Prompt/completion to a conversation and back: the training text is the same byte for byte."""
    row = ROWS["prompt"][0]
    record = shapes.read(row, "r", {})
    talk = shapes.write(record, shapes.shape("messages"))
    assert talk == {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    again = shapes.read(talk, "r", {})
    assert again.messages == record.messages
    assert shapes.write(again, shapes.shape("prompt")) == row
    assert again.content == record.content


def test_changed_words_win_over_the_kept_row() -> None:
    for name in ("messages", "sharegpt", "instruction", "prompt", "preference"):
        record = shapes.read(ROWS[name][0], "r", {})
        masked = record.with_texts(tuple("xx" for _ in record.messages))
        assert "xx" in json.dumps(shapes.write(masked, shapes.shape(name)))
        assert "Hello" not in json.dumps(shapes.write(masked, shapes.shape(name)))


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"a": 1}, "no-shape"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "speaker"),
        ({"messages": ["hello"]}, "speaker"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "speaker"),
        ({"conversations": [{"from": "dog", "value": "x"}]}, "speaker"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "type"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "media"),
        ({"messages": [{"role": "user", "content": "what is it?"}], "images": ["x.png"]}, "media"),
        ({"messages": [{"role": "assistant", "content": "x", "weight": 0.5}]}, "weight"),
        ({"messages": [{"role": "assistant", "content": "x", "refusal": "y"}]}, "content"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "custom", "custom": {"name": "x"}}]}]},
            "tool-calls",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": "x"}]}, "tool-calls"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "x", "arguments": "{broken"}}]}]},
            "not-json",
        ),
        ({"conversations": [{"from": "function_call", "value": "no JSON"}]}, "not-json"),
        ({"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "web_search"}]}, "tools"),
        ({"instruction": 3, "output": "x"}, "type"),
        ({"instruction": "x", "output": "x", "history": [["only a question"]]}, "history"),
        ({"question": "x", "answers": {"text": [], "answer_start": []}}, "no-answer"),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"}, "pair"),
        ({"chosen": "one answer", "rejected": "another"}, "pair"),
        ({"query": "Check it", "api_list": [], "relevant APIs": []}, "no-shape"),
    ],
)
def test_rows_that_are_none(row: dict[str, Any], code: str) -> None:
    with pytest.raises(RowError) as caught:
        shapes.read(row, "r", {})
    assert caught.value.code == code


def test_reading_files(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS["instruction"]) + '{"a": 1}\n')
    problems = Problems()
    records = list(read([path], problems=problems))
    assert [record.id for record in records] == [f"rows.jsonl:{n}" for n in (1, 2, 3, 4)]
    assert records[1].source == {"file": "rows.jsonl", "line": 2}
    assert len(problems.found) == 1
    assert (problems.found[0].line, problems.found[0].code) == (5, "no-shape")
    with pytest.raises(InputError, match=r"rows.jsonl:5: cannot be learnt from"):
        list(read([path]))
    with pytest.raises(InputError, match="unknown shape"):
        list(read([path], shape="round"))
    with pytest.raises(InputError):
        list(read([tmp_path / "none.jsonl"]))
