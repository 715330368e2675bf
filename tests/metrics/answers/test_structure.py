from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError
from rung.core.types import Case
from rung.metrics.answers.structure import FIELD_F1, JSON_VALID, SchemaValid

ORDER = {"customer": "Ada", "items": [{"name": "lamp", "count": 2}, {"name": "desk", "count": 1}]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("output", "value"),
    [
        (ORDER, 1.0),
        ({"customer": " ADA ", "items": list(reversed(ORDER["items"]))}, 1.0),
        ('{"customer": "Ada", "items": [{"name": "lamp", "count": 2}, {"name": "desk", "count": 1.0}]}', 1.0),
        ({"customer": "Ada"}, 2 * 1 / (1 + 5)),
        ({"customer": "Bob", "items": ORDER["items"]}, 2 * 4 / 10),
        ({**ORDER, "note": "x"}, 2 * 5 / 11),
        ({"customer": "Ada", "items": [{"name": "lamp", "count": 2}]}, 2 * 3 / (3 + 5)),
        ({"customer": "Ada", "items": "lamp"}, 2 * 1 / (2 + 5)),
        ({}, 0.0),
        ("lamp", 0.0),
        (None, 0.0),
    ],
)
def test_field_f1(output: Any, value: float) -> None:
    assert FIELD_F1.grade(Case({}, output, ORDER)).value == pytest.approx(value)


def test_why_names_the_fields() -> None:
    got = {"customer": "Ada", "items": [{"name": "desk", "count": 3}, {"name": "lamp", "count": 2}], "x": 1}
    why = FIELD_F1.grade(Case({}, got, ORDER)).why
    assert why == "4 of 5 fields right, 6 given: items[1].count: expected 1, got 3; x not asked for"


@given(JSON.filter(lambda value: not isinstance(value, str)), JSON.filter(lambda value: not isinstance(value, str)))
def test_field_f1_holds_its_bounds(got: Any, wanted: Any) -> None:
    score = FIELD_F1.grade(Case({}, got, wanted))
    assert 0 <= score.value <= 1
    if got is not None:
        assert FIELD_F1.grade(Case({}, got, got)).value == 1


@pytest.mark.parametrize(("output", "value"), [({"a": 1}, 1), ("[1]", 1), ("{", 0), ("7", 0), (None, 0), (7, 0)])
def test_json_valid(output: Any, value: int) -> None:
    assert JSON_VALID.grade(Case({}, output, None)).value == value


def test_schema_valid_names_the_first_offence() -> None:
    metric = SchemaValid(
        {"type": "object", "properties": {"count": {"type": "integer", "minimum": 1}}, "required": ["count"]}
    )
    assert metric.grade(Case({}, {"count": 2}, None)).value == 1
    assert metric.grade(Case({}, '{"count": 2}', None)).value == 1
    low = metric.grade(Case({}, {"count": 0}, None))
    assert low.value == 0
    assert low.why.startswith("count: 0 is less than")
    assert metric.grade(Case({}, {}, None)).why.startswith("the whole answer: 'count' is a required")
    assert metric.grade(Case({}, "{", None)).why.startswith("not JSON")


def test_a_schema_of_an_older_draft_is_read_as_that_draft_reads_it() -> None:
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}
    assert SchemaValid(schema).grade(Case({}, ["x"], None)).value == 0
    del schema["$schema"]
    with pytest.raises(InputError):  # a list of schemas is no schema today
        SchemaValid(schema)


def test_patterns_of_a_schema_end_and_references_stay_in_it() -> None:
    slow = SchemaValid({"properties": {"a": {"pattern": "^(a+)+$"}}})
    assert slow.grade(Case({}, {"a": "a" * 40 + "!"}, None)).value == 0
    lost = SchemaValid({"$ref": "http://127.0.0.1:9/schema.json"})
    assert "refers to what is not in it" in lost.grade(Case({}, {}, None)).why


@pytest.mark.parametrize("schema", [[], "x", 5, {"type": "objekt"}, {"properties": {"a": {"pattern": "("}}}])
def test_what_is_no_schema(schema: Any) -> None:
    with pytest.raises(InputError):
        SchemaValid(schema)


def test_answers_nested_without_end_are_no_json() -> None:
    assert JSON_VALID.grade(Case({}, "[" * 100_000, None)).value == 0
    assert FIELD_F1.grade(Case({}, "[" * 100_000, "[" * 100_000)).value == 0
