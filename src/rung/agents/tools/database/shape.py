"""Queries that a model can spell over a database's own tables and columns, and none that it does not have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_VALUE = r"(?:'[^'\"\\\n]{1,40}'|-?\d{1,9}(?:\.\d{1,4})?)"


def plain_select(tables: Mapping[str, Sequence[str]]) -> str:
    """A regular expression of one SELECT from one table: columns or counts, sums and the like of them, up to two
    conditions, GROUP BY, ORDER BY and LIMIT. Joins and subqueries are not among them.

    ``tables`` are columns by table. Names that are no plain words are left out.
    """
    plain = {
        table: [column for column in columns if re.fullmatch(r"\w+", column)]
        for table, columns in tables.items()
        if re.fullmatch(r"\w+", table)
    }
    return "|".join(_from(table, columns) for table, columns in plain.items() if columns)


def _from(table: str, columns: Sequence[str]) -> str:
    column = f"(?:{'|'.join(columns)})"
    item = rf"(?:{column}|COUNT\(\*\)|(?:COUNT\(DISTINCT |(?:SUM|AVG|MIN|MAX)\(){column}\))"
    condition = rf"{column} (?:=|<>|<|>|<=|>=|LIKE) {_VALUE}"
    return (  # a pattern, not a query
        rf"SELECT {item}(?:, {item}){{0,2}} FROM {table}(?: WHERE {condition}(?: (?:AND|OR) {condition})?)?"  # noqa: S608
        rf"(?: GROUP BY {column})?(?: ORDER BY {item}(?: DESC| ASC)?)?(?: LIMIT \d{{1,3}})?"
    )
