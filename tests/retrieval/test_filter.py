"""One meaning everywhere: the predicate, the columns and (in test_backends) every server give the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError, Unsupported
from rung.core.protocols import Filter
from rung.retrieval.filter.columns import MetadataColumns
from rung.retrieval.filter.conditions import check, clean, predicate
from rung.retrieval.filter.text import read
from rung.retrieval.index.backends.elasticsearch import as_elasticsearch, as_fields
from rung.retrieval.index.backends.pgvector import as_sql
from rung.retrieval.index.backends.qdrant import as_qdrant

ROWS: list[dict[str, Any]] = [
    {"lang": "en", "year": 2020, "tag": ["a", "b"], "open": True},
    {"lang": "de", "year": 2021.5, "tag": ["b"], "open": False},
    {"lang": "en", "year": "2020", "tag": [], "open": None},
    {"lang": "fr", "tag": "a", "date": "2024-03-01"},
    {},
]


@pytest.mark.parametrize(
    ("text", "where", "rows"),
    [
        ("lang=en", {"lang": {"eq": "en"}}, [0, 2]),
        ("lang!=en", {"lang": {"ne": "en"}}, [1, 3, 4]),
        ("lang=en year>=2020", {"lang": {"eq": "en"}, "year": {"gte": 2020}}, [0]),
        ("year>2020 year < 2022", {"year": {"gt": 2020, "lt": 2022}}, [1]),
        ('year="2020"', {"year": {"eq": "2020"}}, [2]),
        ("year=2020.0", {"year": {"eq": 2020.0}}, [0]),
        ("tag in a,c", {"tag": {"in": ["a", "c"]}}, [0, 3]),
        ("tag=b tag=a", {"tag": {"eq": "b"}, "all": [{"tag": {"eq": "a"}}]}, [0]),
        ("tag exists", {"tag": {"exists": True}}, [0, 1, 3]),
        ("tag missing and lang exists", {"tag": {"exists": False}, "lang": {"exists": True}}, [2]),
        ("open=true", {"open": {"eq": True}}, [0]),
        ("open=1", {"open": {"eq": 1}}, []),
        ("lang=de or lang=fr", {"any": [{"lang": {"eq": "de"}}, {"lang": {"eq": "fr"}}]}, [1, 3]),
        (
            "year>=2020 (lang=en or (lang=de and tag=b))",
            {
                "year": {"gte": 2020},
                "all": [{"any": [{"lang": {"eq": "en"}}, {"lang": {"eq": "de"}, "tag": {"eq": "b"}}]}],
            },
            [0, 1],
        ),
        ("date>=2024-01-01", {"date": {"gte": "2024-01-01"}}, [3]),
        ("lang='en'", {"lang": {"eq": "en"}}, [0, 2]),
        ('{"tag": {"in": []}}', {"tag": {"in": []}}, []),
        ('{"any": []}', {"any": []}, []),
        ("", {}, [0, 1, 2, 3, 4]),
    ],
)
def test_a_filter_is_read_and_answered(text: str, where: Filter, rows: list[int]) -> None:
    assert read(text) == where
    holds = predicate(where)
    assert [row for row, metadata in enumerate(ROWS) if holds(metadata)] == rows
    columns = MetadataColumns()
    columns.extend(ROWS)
    assert np.flatnonzero(columns.mask(where)).tolist() == rows


@pytest.mark.parametrize(
    "text",
    ["lang", "lang=", "=en", "lang ~ en", "(lang=en", "lang=en)", "tag in", "or", "lang=en or", '{"a":', "a=(b)", '"x'],
)
def test_what_cannot_be_read_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert "lang=en year>=2020" in caught.value.remedy or "escape" in caught.value.remedy


@pytest.mark.parametrize(
    "where",
    [
        {"a": {"near": 1}},
        {"a": {}},
        {"a": [1, 2]},
        {"a": None},
        {"a": {"in": "ab"}},
        {"a": {"exists": 1}},
        {"a": {"gt": True}},
        {"a": float("nan")},
        {1: 2},
        ["a"],
    ],
)
def test_a_wrong_filter_is_refused(where: Any) -> None:
    with pytest.raises(InputError):
        check(where)


def test_metadata_that_no_filter_could_test_are_refused() -> None:
    assert clean({"a": None, "b": [], "c": [1, None], "d": np.float64(2)}) == {"c": (1,), "d": 2.0}
    for bad in ({"a": {"b": 1}}, {"a": float("inf")}, {"a": object()}, {"a": [[1]]}):
        with pytest.raises(InputError):
            clean(bad)


_VALUE = st.one_of(
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, -2.0]),
    st.sampled_from(["", "a", "b", "é", "\U0001f600", "\ufffd"]),
)
_FIELD = st.sampled_from(["f", "g", "any", 'h."x'])
_METADATA = st.dictionaries(_FIELD, st.one_of(st.none(), _VALUE, st.lists(_VALUE, max_size=3)), max_size=4)
_TEST = st.one_of(
    st.tuples(st.sampled_from(["eq", "ne"]), _VALUE),
    st.tuples(st.just("in"), st.lists(_VALUE, max_size=3)),
    st.tuples(st.sampled_from(["gt", "gte", "lt", "lte"]), _VALUE.filter(lambda value: not isinstance(value, bool))),
    st.tuples(st.just("exists"), st.booleans()),
)
_PLAIN = st.dictionaries(_FIELD, st.lists(_TEST, min_size=1, max_size=2).map(dict), max_size=2)
FILTERS = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"any": parts}, st.lists(inner, max_size=3)),
        st.builds(lambda parts: {"all": parts}, st.lists(inner, max_size=3)),
    ),
    max_leaves=4,
)


@given(st.lists(_METADATA, max_size=8), FILTERS, st.randoms())
def test_columns_answer_as_the_predicate_does(rows: list[dict[str, Any]], where: Filter, random: Any) -> None:
    columns = MetadataColumns()
    cut = random.randint(0, len(rows))
    columns.extend(rows[:cut])
    columns.extend(rows[cut:])
    wanted = [predicate(where)(metadata) for metadata in rows]
    assert columns.mask(where).tolist() == wanted
    order = list(range(len(rows)))
    random.shuffle(order)
    again = MetadataColumns.restore(len(rows), list(columns.dump()))
    taken = again.take(np.array(order, np.intp))
    assert taken.mask(where).tolist() == [wanted[row] for row in order]
    for row in order:
        taken.put(row, rows[row])
    assert taken.mask(where).tolist() == wanted
    assert [clean(taken.row(row)) for row in range(len(rows))] == [clean(row) for row in rows]


def test_columns_keep_pace_with_a_large_collection() -> None:
    """A hundred thousand rows, two fields: a mask in well under what a scan of the rows in Python would take."""
    import time

    columns = MetadataColumns()
    columns.extend([{"lang": ("en", "de", "fr")[row % 3], "row": row} for row in range(100_000)])
    started = time.process_time()
    for _ in range(10):
        found = columns.mask({"lang": "en", "row": {"gte": 50_000}})
    assert (time.process_time() - started) / 10 < 0.2
    assert int(found.sum()) == sum(row % 3 == 0 for row in range(50_000, 100_000))


def test_the_servers_forms() -> None:
    where = read("lang=en year>=2020 tag in a,3")
    assert as_elasticsearch(where) == {
        "bool": {
            "filter": [
                {"term": {"s.lang": {"value": "en"}}},
                {"range": {"n.year": {"gte": 2020}}},
                {
                    "bool": {
                        "should": [{"terms": {"s.tag": ["a"]}}, {"terms": {"n.tag": [3]}}],
                        "minimum_should_match": 1,
                    }
                },
            ]
        }
    }
    assert as_fields({"a.b": [1, "x"], "c": True, "d": None}) == {
        "s": {"a%2Eb": ["x"]},
        "n": {"a%2Eb": [1]},
        "b": {"c": [True]},
        "has": ["a.b", "c"],
    }
    sql, values = as_sql(where)
    assert sql.count("%s") == len(values)
    assert "2020" not in sql  # values never stand in the statement
    assert as_qdrant({"f": 3}) == {"must": [{"must": [{"key": 'metadata."f"', "range": {"gte": 3, "lte": 3}}]}]}
    with pytest.raises(Unsupported, match="compares numbers and dates"):
        as_qdrant({"f": {"gt": "b"}})
