"""Records to JSON and back, and hashes that stay."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import math
import os
import subprocess
import sys
import types as builtin_types
import typing
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.core import types
from rung.core.codec import canonical, canonical_of_plain, decode, digest, digest_file, encode

RECORDS: list[type[Any]] = [
    kind
    for _, kind in inspect.getmembers(types, inspect.isclass)
    if dataclasses.is_dataclass(kind) and kind.__module__.startswith(types.__name__)
]

TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FLAT: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(-(2**70), 2**70),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    Any: JSON,
}


@cache
def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value that a field of this type may hold. Fails on a type the codec has not been shown to carry."""
    if kind in FLAT:
        return FLAT[kind]
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{item.name: values(hints[item.name]) for item in dataclasses.fields(kind)})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (typing.Union, builtin_types.UnionType):
        return st.one_of(*(st.none() if arm is type(None) else values(arm) for arm in arguments))
    if origin is tuple:
        assert arguments[1:] == (...,)
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is frozenset:
        return st.frozensets(values(arguments[0]), max_size=2)
    if origin is collections.abc.Mapping:
        assert arguments[0] is str
        return st.dictionaries(TEXT, values(arguments[1]), max_size=2)
    raise AssertionError(f"a record holds {kind}: teach this test, and see that the codec carries it")


def test_there_are_records() -> None:
    assert {types.Request, types.Result, types.Task, types.Answer, types.Usage} <= set(RECORDS)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_record_comes_back_as_it_was(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(values(typing.cast(typing.Hashable, kind)))
    text = canonical(value)
    back = decode(kind, json.loads(text))
    assert back == value
    assert type(back) is kind
    assert canonical(back) == text
    assert digest(back) == digest(value)


def test_defaults_are_left_out_and_filled_in_again() -> None:
    assert encode(types.Request((types.Message("user", "hi"),))) == {"messages": [{"role": "user", "content": "hi"}]}
    assert encode(types.Sampling(seed=None)) == {"seed": None}
    assert decode(types.Sampling, {"seed": None}).seed is None
    assert decode(types.Sampling, {}) == types.Sampling()


@pytest.mark.parametrize("spec", [{"max_tokens": None}, {"stop": [None]}, {"temperature": []}, {"beams": 1.5}])
def test_a_value_of_another_kind_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        decode(types.Sampling, spec)


def test_a_field_of_a_newer_version_is_ignored() -> None:
    assert decode(types.Usage, {"calls": 2, "carbon": 1.5}) == types.Usage(calls=2)


def test_nested_records_are_records_again() -> None:
    result = types.Result(
        types.Example("1", {"text": "a"}, "x"),
        types.Answer(
            None, steps=(types.Step("ask", (types.Message("user", "q"),)),), failure=types.Failure("parse", "no")
        ),
        {"accuracy": types.Score(0.0, "wrong", (1.0, 2.0))},
    )
    back = decode(types.Result, json.loads(canonical(result)))
    assert back == result
    assert isinstance(back.answer.steps[0].messages[0], types.Message)
    assert isinstance(back.scores["accuracy"].parts, tuple)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_numbers_survive(value: float) -> None:
    """Scores say minus infinity for a candidate that was not expanded."""
    scores = types.Scores((0.0, value), 0)
    assert decode(types.Scores, json.loads(canonical(scores))) == scores


def test_not_a_number_survives() -> None:
    score = decode(types.Score, json.loads(canonical(types.Score(math.nan))))
    assert math.isnan(score.value)


def test_canonical_is_one_text() -> None:
    assert canonical({"b": 1, "a": [True, None, "é"]}) == '{"a":[true,null,"é"],"b":1}'
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    assert canonical(frozenset({"b", "a"})) == '["a","b"]'
    assert canonical((1, 2)) == canonical([1, 2])
    assert canonical(Path("a/b")) == '"a/b"'


@given(st.dictionaries(TEXT, JSON, max_size=6))
def test_the_order_of_keys_does_not_count(value: dict[str, Any]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


def golden() -> dict[str, Any]:
    message = types.Message("user", "Où est 北京? \ud83d")
    return {
        "usage": types.Usage(1, 2, 3, 4, 0.1, 1e-9, 1e22),
        "request": types.Request(
            (message,), types.Sampling(temperature=0.7, stop=("\n",)), types.ResponseFormat("labels", ("a", "b"))
        ),
        "capabilities": types.Capabilities(forms=frozenset({"json", "labels", "regex", "grammar"})),
        "example": types.Example("7", {"text": "hello"}, {"total": 1.5, "items": ["a", None, True]}),
        "plain": [1, -0.5, "a", None, {"k": False}],
    }


PINNED: dict[str, str] = {
    "usage": "7e61bf0cecb428006b269b79b99582aa",
    "request": "ca198050a17db1dd8de2b76f54cf9b80",
    "capabilities": "c203dccccd3a2a6275fa75059045aa96",
    "example": "ece8f1f5c2b256008667a70f50e8f054",
    "plain": "391f869c8cda9c150560630f46b272e3",
}


@pytest.mark.parametrize("seed", ["0", "1"])
def test_hashes_do_not_depend_on_the_process_or_the_version(seed: str) -> None:
    """Journals live for years: when this fails, every store in the world loses its answers."""
    code = "import json; from tests.core.test_codec import *; print(json.dumps({k: digest(v) for k, v in golden().items()}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == PINNED


def test_the_order_of_a_schemas_properties_counts_and_is_kept() -> None:
    """A model writes the fields in that order: a reason before the answer, or after it."""
    first = {
        "type": "object",
        "required": ["reason"],
        "properties": {"reason": {"type": "string"}, "answer": {"enum": [1]}},
    }
    other = {**first, "properties": dict(reversed(first["properties"].items()))}  # type: ignore[attr-defined]
    assert first == other
    assert digest({"schema": first}) != digest({"schema": other})
    assert digest({"schema": first, "a": 1}) == digest({"a": 1, "schema": dict(reversed(first.items()))})
    nested = {"items": {"properties": {"z": {"properties": {"y": True, "b": {}}}, "a": {"minimum": 1, "const": 2}}}}
    for text in (canonical(nested), canonical_of_plain(nested)):
        assert text == '{"items":{"properties":{"z":{"properties":{"y":true,"b":{}}},"a":{"const":2,"minimum":1}}}}'
    place = {"properties": {"z": 1, "a": "no schema"}}
    assert canonical(place) == '{"properties":{"a":"no schema","z":1}}'


def test_digest_tells_values_apart() -> None:
    seen: list[Any] = [
        None,
        0,
        False,
        "",
        "0",
        [],
        {},
        [[]],
        [""],
        ["", ""],
        {"": ""},
        "null",
        [1, 2],
        [12],
        {"a": 1},
        [["a", 1]],
    ]
    assert len({digest(value) for value in seen}) == len(seen)
    assert all(len(digest(value)) == 32 and int(digest(value), 16) >= 0 for value in seen)


def test_digest_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
