"""Questions of a database: what counts as the right rows, and which queries can be spelled."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rung.agents.environments.benchmarks.questions import TextToSql, read_questions
from rung.agents.loop.move import Call
from rung.agents.loop.toolset import Toolset
from rung.agents.tools import open_tools
from rung.agents.tools.database.shape import plain_select
from rung.core.errors import InputError

QUERIES = (
    "SELECT AVG(price) FROM fruit",
    "SELECT name FROM fruit WHERE price > 2",
    "SELECT name FROM fruit ORDER BY price DESC",
    "SELECT COUNT(*) FROM fruit",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "database" / "stall"
    place.mkdir(parents=True)
    with closing(sqlite3.connect(place / "stall.sqlite")) as link:
        link.executescript('CREATE TABLE fruit (name TEXT, price REAL, "odd name" TEXT); CREATE TABLE bin (id INT);')
        link.executemany("INSERT INTO fruit VALUES (?, ?, '')", [("fig", 0.1), ("kiwi", 0.2), ("pear", 3), ("plum", 4)])
        link.commit()
    rows = [{"question": f"Question {at}?", "SQL": query, "db_id": "stall"} for at, query in enumerate(QUERIES)]
    (tmp_path / "dev.json").write_text(json.dumps(rows))
    return tmp_path


@pytest.mark.parametrize(
    ("scenario", "query", "right"),
    [
        ("0", "SELECT SUM(price) / COUNT(price) AS mean FROM fruit", True),
        ("0", "SELECT 7.3 / 4", True),  # it is what comes out that counts
        ("0", "SELECT AVG(price), 1 FROM fruit", False),
        ("1", "SELECT name FROM fruit WHERE price >= 3 ORDER BY name DESC", True),
        ("1", "SELECT name FROM fruit WHERE price >= 3 UNION ALL SELECT 'plum'", False),
        ("2", "SELECT name FROM fruit ORDER BY price", False),
    ],
)
def test_rows_are_compared_and_in_order_where_that_was_asked(
    folder: Path, scenario: str, query: str, right: bool
) -> None:
    world = TextToSql(str(folder))
    world.reset(scenario)
    assert world.step(Call("answer", {"query": query})).done
    assert world.judge(None).solved is right


def test_a_policy_sees_that_there_is_an_environment(folder: Path) -> None:
    """Else a staged call asks first whether any tool is right at all, and nearly always none is."""
    assert TextToSql(str(folder)).reset("0").value is not None


def test_a_refused_query_may_be_mended_and_an_answer_is_one(folder: Path) -> None:
    world = TextToSql(str(folder))
    assert [len(world.scenarios(split, 9)) for split in ("train", "dev", "test")] == [1, 1, 2]
    world.reset("1")
    assert world.step(Call("answer", {"query": "DROP TABLE fruit"})).refused
    assert not world.judge(None).solved
    other = world.fork()
    for call in world.oracle():
        assert "pear" in world.step(call).text
    assert world.judge(None).solved
    assert not other.judge(None).solved
    assert world.step(world.oracle()[0]).refused
    for bad in ("4", "x"):
        with pytest.raises(InputError):
            world.reset(bad)


def test_a_plain_query_names_only_what_there_is(folder: Path) -> None:
    world = TextToSql(str(folder), shape="plain")
    world.reset("0")
    tools = Toolset((), world)
    for query in (*QUERIES, "SELECT name, COUNT(DISTINCT price) FROM fruit WHERE name LIKE 'p%' GROUP BY name LIMIT 3"):
        assert tools.complaint(Call("answer", {"query": query})) == ""
    for query in ("SELECT weight FROM fruit", "SELECT name FROM bin", "SELECT 1", "SELECT name FROM fruit; SELECT 1"):
        assert tools.complaint(Call("answer", {"query": query}))
    file = folder / "database" / "stall" / "stall.sqlite"
    (made,) = open_tools({"name": "sql", "target": str(file), "shape": "plain"})
    assert re.fullmatch(made.schema["properties"]["query"]["pattern"], QUERIES[1])
    for target, shape in ((str(file), "round"), ("postgresql://nobody@127.0.0.1/x", "plain")):
        with pytest.raises(InputError):
            open_tools({"name": "sql", "target": target, "shape": shape})
    assert plain_select({"a b": ["c"], "empty": ["d e"]}) == ""


def test_folders_that_hold_no_questions_are_refused(tmp_path: Path) -> None:
    for text in (None, "", "[]", '{"question": "?"}', "no json"):
        if text is not None:
            (tmp_path / "questions.jsonl").write_text(text)
        with pytest.raises(InputError):
            TextToSql(str(tmp_path))
    with pytest.raises(InputError):
        TextToSql()


ROW = {"question": "how many?", "query": "select count(*) from t", "db_id": "shop"}


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("questions.jsonl", json.dumps(ROW) + "\nnot json\n", 2, "cannot be read"),
        ("questions.jsonl", json.dumps(ROW) + '\n\n{"question": "how many?"}\n', 3, "without question, query or db_id"),
        ("dev.json", json.dumps([ROW, 7]), 2, "without question, query or db_id"),
        ("dev.json", "[", None, "cannot be read"),
        ("dev.json", "7", None, "cannot be read"),
    ],
)
def test_a_wrong_row_is_told_with_its_line(tmp_path: Path, name: str, text: str, line: int | None, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_questions(tmp_path)
    assert (caught.value.file, caught.value.line) == (tmp_path / name, line)


def test_rows_name_their_database(tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text(json.dumps(ROW) + "\n\n" + json.dumps({**ROW, "query": "", "SQL": "x"}))
    found = read_questions(tmp_path)
    assert [one.query for one in found] == [ROW["query"], "x"]
    assert {one.file for one in found} == {tmp_path / "shop.sqlite"}
