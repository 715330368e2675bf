"""Values against schemas: where they break them, in which words, and what a schema may not do."""

import pytest

from rung.core.text.schema import check_schema, complain, offence

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]+$"},
        "ages": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["name"],
}


def test_a_value_that_fits_is_not_complained_of() -> None:
    assert complain(PERSON, {"name": "ada", "ages": [1]}) == ""


@pytest.mark.parametrize(
    ("value", "place"),
    [({}, ()), ({"name": "ada", "ages": [1, "2"]}, ("ages", 1)), ({"name": "Ada"}, ("name",))],
)
def test_an_offence_names_its_place(value: object, place: tuple[str | int, ...]) -> None:
    found = offence(PERSON, value)
    assert found is not None
    assert found.path == place
    assert found.message
    assert ("/".join(map(str, place)) or "the object") in complain(PERSON, value)


def test_a_schema_that_is_none_is_told_with_its_place() -> None:
    assert check_schema(PERSON) is None
    found = check_schema({"type": "object", "properties": {"n": {"type": "whole"}}})
    assert found is not None
    assert found.path == ("properties", "n", "type")


def test_references_stay_inside_and_depth_ends() -> None:
    away = offence({"$ref": "https://example.org/schema.json"}, {})
    assert away is not None
    assert "not in it" in away.message
    ring = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    found = offence(ring, {})
    assert found is not None
    assert "nested too deeply" in found.message


def test_a_draft_that_is_named_counts() -> None:
    bounds = {"type": "number", "minimum": 1, "exclusiveMinimum": True}
    assert check_schema(bounds) is not None
    assert check_schema({"$schema": "http://json-schema.org/draft-04/schema#", **bounds}) is None
