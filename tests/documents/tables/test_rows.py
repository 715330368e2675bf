"""Every format to the same rows, and every broken row to a problem with its line."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.documents.reading.worker import Bounds
from rung.documents.tables import rows as tables
from rung.documents.tables.cells import ABSENT, heads, value
from rung.documents.tables.layout import Layout
from rung.documents.tables.rows import read, rows, stream

ROWS = [
    {"text": "plain", "label": "a"},
    {"text": 'with "quotes", a comma', "label": "b"},
    {"text": "two\nlines \u2028 and a tab\t", "label": "a"},
    {"text": "Ωmega 😀 naïve", "label": "b"},
]


def write_csv(path: Path, delimiter: str = ",") -> None:
    import csv

    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(["text", "label"])
        writer.writerows([row["text"], row["label"]] for row in ROWS)


def make(path: Path) -> None:
    name = path.name.removesuffix(".gz")
    plain = path.with_name(name)
    if name.endswith(".csv"):
        write_csv(plain)
    elif name.endswith(".tsv"):
        write_csv(plain, "\t")
    elif name.endswith(".jsonl"):
        plain.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n", encoding="utf-8")
    elif name.endswith(".json"):
        plain.write_text(json.dumps(ROWS), encoding="utf-8")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist(ROWS)
        if name.endswith(".parquet"):
            pq.write_table(table, plain)
        else:
            with pa.OSFile(str(plain), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
    if path != plain:
        path.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
        plain.unlink()


def read_one(file: Path, **options: Any) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    problems = Problems()
    tables = read(file, problems, Layout(**options))
    told = tuple(str(problem) for problem in problems.close())
    return [dict(row.values) for table in tables for row in table.rows], told


@pytest.mark.parametrize(
    "name", ["d.csv", "d.tsv", "d.jsonl", "d.json", "d.parquet", "d.arrow", "d.csv.gz", "d.jsonl.gz", "d.json.gz"]
)
def test_formats_agree(tmp_path: Path, name: str) -> None:
    make(tmp_path / name)
    assert read_one(tmp_path / name) == (ROWS, ())


def test_byte_order_mark_is_no_part_of_a_column(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\r\nx,a\r\n")
    assert read_one(path) == ([{"text": "x", "label": "a"}], ())


def test_headerless_unquoted_tsv(tmp_path: Path) -> None:
    path = tmp_path / "d.tsv"
    path.write_text('he said " and left\t1\nfine\t0\n')
    rows, told = read_one(path, header=False, quote="none", names=("text", "label"))
    assert rows == [{"text": 'he said " and left', "label": "1"}, {"text": "fine", "label": "0"}]
    assert not told
    assert read_one(path, header=False, quote="none")[0][1] == {"1": "fine", "2": "0"}


@pytest.mark.parametrize("name", ["d.tsv", "d.csv"])
def test_commas_in_the_first_line_do_not_hide_the_tab(tmp_path: Path, name: str) -> None:
    """A .tsv is cut at tabs; any table without a header where its cells are as many as the names."""
    path = tmp_path / name
    path.write_text("no movement , no yuks , not much\t0\na fine film\t1\n")
    rows, told = read_one(path, header=False, quote="none", names=("text", "label"))
    assert [row["label"] for row in rows] == ["0", "1"]
    assert not told


def test_json_path_inherits_what_rows_lie_in(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    document = {
        "data": [
            {
                "title": "T",
                "paragraphs": [
                    {"context": "C", "qas": [{"id": "1", "answers": [{"text": "x"}]}, {"id": "2", "answers": []}]}
                ],
            }
        ]
    }
    path.write_text(json.dumps(document))
    rows, told = read_one(path, path="data[].paragraphs[].qas[]")
    assert not told
    assert rows[0] == {"title": "T", "context": "C", "id": "1", "answers": [{"text": "x"}]}
    assert value(rows[0], "answers[].text") == ["x"]
    assert value(rows[1], "answers[].text") == []
    assert value(rows[1], "other") is ABSENT
    assert value(rows[0], "json(id, title)") == '{"id": "1", "title": "T"}'
    assert value(rows[0], "json(id, answers[].text)") == '{"id": "1", "answers[].text": ["x"]}'
    assert value(rows[0], "json(other)") is ABSENT
    assert heads("json(id, answers[].text)") == ["id", "answers"]
    assert heads("a.b") == ["a"]
    _, told = read_one(path, path="data[].paragraph[]")
    assert "there is no `paragraph`" in told[0]
    assert "title, paragraphs" in told[0]
    assert "keys data" in read_one(path)[1][0]


@pytest.mark.parametrize("layout", ["disk", "hub", "files"])
def test_dataset_folder(tmp_path: Path, layout: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # The layout and metadata that `datasets` 5.2 writes: class labels are integers, named in the features.
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
    }
    meta = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    for split in ("train", "validation", "test"):
        table = pa.table({"text": [f"{split} one", f"{split} two"], "label": [0, 1]})
        if layout == "disk":
            (tmp_path / split).mkdir()
            with (
                pa.OSFile(str(tmp_path / split / "data-00000-of-00001.arrow"), "wb") as sink,
                pa.ipc.new_stream(sink, table.schema) as stream,
            ):
                stream.write_table(table)
            (tmp_path / split / "dataset_info.json").write_text(json.dumps({"features": features}))
            (tmp_path / split / "state.json").write_text("{}")
        elif layout == "hub":
            (tmp_path / "data").mkdir(exist_ok=True)
            pq.write_table(table.replace_schema_metadata(meta), tmp_path / "data" / f"{split}-00000-of-00001.parquet")
        else:
            lines = [
                json.dumps({"text": f"{split} {word}", "label": name})
                for word, name in (("one", "neg"), ("two", "pos"))
            ]
            (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    (tmp_path / "README.md").write_text("card")
    problems = Problems()
    tables = read(tmp_path, problems)
    assert not problems.found
    assert {table.split: [row.values["label"] for row in table.rows] for table in tables} == {
        "train": ["neg", "pos"], "dev": ["neg", "pos"], "test": ["neg", "pos"],
    }  # fmt: skip
    assert {table.split: table.rows[0].values["text"] for table in tables}["dev"] == "validation one"


BROKEN: list[tuple[str, bytes, dict[str, Any], int | None, str]] = [
    ("a.csv", b"text,label\nx,a\ny\nz,b\n", {}, 3, "cell-count"),
    ("a.csv", b"text,label\nx,a,extra\n", {}, 2, "cell-count"),
    ("a.csv", b'text,label\n"open,a\nz,b\n', {}, 2, "unclosed-quote"),
    ("a.csv", b'text,label\n"x"y,a\nz,b\n', {}, 2, "not-csv"),
    ("a.csv", b"text,text\nx,a\n", {}, 1, "duplicate-column"),
    ("a.csv", b"text,label\nx,a\ncaf\xe9,b\n", {}, 3, "encoding"),
    ("a.csv", "text,label\nx,a\n".encode("utf-16"), {}, 1, "encoding"),
    ("a.jsonl", b'{"text": "x"}\n{"text": \n', {}, 2, "not-json"),
    ("a.jsonl", b'{"text": NaN}\n', {}, 1, "not-json"),
    ("a.jsonl", b'{"text": "x"}\n"y"\n', {}, 2, "not-a-row"),
    ("a.jsonl", b'["x", "y", "z"]\n', {"names": ("text", "label")}, 1, "not-a-row"),
    ("a.json", b'[{"text": "x"},\n {"text" "y"}]', {}, 2, "not-json"),
    ("a.json", b'{"rows": []}', {}, None, "json-path"),
    ("a.csv.gz", b"text,label\n", {}, None, "gzip"),
    ("a.csv.gz", gzip.compress(b"text,label\nx,y\n" * 99, mtime=0)[:40], {}, None, "gzip"),
    ("a.parquet", b"PAR1 no", {}, None, "not-arrow"),
    ("a.arrow", b"no", {}, None, "not-arrow"),
    ("a.xyz", b"", {}, None, "unknown-format"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "options", "line", "code"), BROKEN)
def test_broken_files_are_told_by_line(
    tmp_path: Path, name: str, content: bytes, options: dict[str, Any], line: int | None, code: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    problems = Problems()
    read(path, problems, Layout(**options))
    (problem,) = problems.close()
    assert problem.code == code
    assert problem.line == line
    assert problem.remedy
    assert problem.file == str(path)


def test_many_broken_rows_are_counted_not_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "only\n" * 50 + "good,a\n")
    rows, told = read_one(path)
    assert rows == [{"text": "good", "label": "a"}]
    assert len(told) == 6
    assert "45 more rows" in told[-1]


def test_other_encodings_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text\ncafé\n".encode("cp1252"))
    assert read_one(path, encoding="cp1252")[0] == [{"text": "café"}]


def test_missing_file_names_a_near_one(tmp_path: Path) -> None:
    (tmp_path / "messages.jsonl").write_text("")
    _, (told,) = read_one(tmp_path / "mesages.jsonl")
    assert "did you mean messages.jsonl?" in told


LENIENT: list[tuple[bytes, list[dict[str, Any]], list[tuple[str, int | None]]]] = [
    (b"id;text\n1;a, b\n", [{"id": "1", "text": "a, b"}], []),
    (b"sep=|\nid|text\n1|a;b;c\n", [{"id": "1", "text": "a;b;c"}], []),
    (b'"the\r\ntext",n\r\n"a\r\nb",1\r\n', [{"the text": "a\r\nb", "n": "1"}], []),
    (b'"a;b;c;d",n\nx,1\n', [{"a;b;c;d": "x", "n": "1"}], []),
    (b",text\n0,a\n", [{"column 1": "0", "text": "a"}], [("blank-column", 1)]),
    (b"note,note\na,b\n", [{"note": "a", "note (2)": "b"}], [("duplicate-column", 1)]),
    (b"a,b\n1\n1,2,3\n", [{"a": "1", "b": ""}, {"a": "1", "b": "2", "column 3": "3"}], [("cell-count", 2), ("cell-count", 3)]),
    (b"a,b\n1,2\n\"3,4\n5,6\n", [{"a": "1", "b": "2"}], [("unclosed-quote", 3)]),
    (b"a\ncaf\xe9\n", [{"a": "caf\u00e9"}], [("encoding", 2)]),
    ("a,b\n1,\u00e9\n".encode("utf-16"), [{"a": "1", "b": "\u00e9"}], []),
    (b"", [], []),
]  # fmt: skip


@pytest.mark.parametrize(("content", "expected", "told"), LENIENT)
def test_a_table_among_documents_is_read_leniently_and_told(
    tmp_path: Path, content: bytes, expected: list[dict[str, Any]], told: list[tuple[str, int | None]]
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    problems = Problems()
    assert [row.values for row in stream(tmp_path / "a.csv", problems, Layout(lenient=True))] == expected
    assert sorted((problem.code, problem.line) for problem in problems.close()) == sorted(told)


def test_rows_that_must_be_good_raise_the_first_problem(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"a": }\n')
    with pytest.raises(InputError) as raised:
        rows(tmp_path / "a.jsonl")
    assert (raised.value.code, raised.value.line) == ("not-json", 3)


def test_a_line_that_never_ends_is_told_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rung.documents.tables.encoded.CELL", 1000)
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": "' + "x" * 5000 + '"}\n{"a": 2}\n{"a": "\x00"}\n')
    problems = Problems()
    assert [row.values["a"] for row in stream(tmp_path / "a.jsonl", problems)] == [1, 2, ""]
    assert [(problem.code, problem.line) for problem in problems.close()] == [("too-long", 2), ("nul", 4)]


def test_a_packed_table_is_read_apart_and_its_rows_are_its_file_s(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": "1", "b": [1, null]}\nnot json\n{"a": "2"}\n'))
    problems = Problems()
    (table,) = tables.read(path, problems)
    assert [(row.values, row.file, row.line) for row in table.rows] == [
        ({"a": "1", "b": [1, None]}, path, 1),
        ({"a": "2"}, path, 3),
    ]
    assert [(problem.code, problem.file, problem.line) for problem in problems.found] == [("not-json", str(path), 2)]
    assert [row.values["a"] for row in tables.stream(path, Problems())] == ["1", "2"]


@pytest.mark.parametrize("name", ["rows.json.gz", "rows.jsonl.gz", "rows.csv.gz", "rows.parquet"])
def test_a_table_that_unpacks_without_end_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BOUNDS", Bounds(seconds=1.0, memory=128 << 20))
    path = tmp_path / name
    if name.endswith("parquet"):
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.table({"text": ["x"] * 2_000_000}), path)
    else:
        line = b'{"text": "x"}\n' if "jsonl" in name else b"x,y\n"
        content = b"[" + b"[]," * 6_000_000 + b"[]]" if ".json." in name else line * 3_000_000
        path.write_bytes(gzip.compress(content, 1))
    problems = Problems()
    assert not any(table.rows for table in tables.read(path, problems))
    assert [(problem.code, problem.file) for problem in problems.found] in (
        [("too-much", str(path))], [("not-arrow", str(path))], [("not-json", str(path))],
    )  # fmt: skip


@pytest.mark.parametrize("lenient", [True, False])
def test_a_key_that_stands_twice_is_told(lenient: bool, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one", "text": "two"}\n{"text": "three"}\n')
    problems = Problems()
    (table,) = read(tmp_path / "a.jsonl", problems, Layout(lenient=lenient))
    assert [row.values["text"] for row in table.rows] == ["three"]
    assert [(problem.code, problem.line) for problem in problems.found] == [("not-json", 1)]


def test_values_of_a_parquet_file(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {
        "bytes": arrow.array([b"yes", b"\xff"]), "price": arrow.array([Decimal("1.50"), Decimal("2.00")]),
        "nested": arrow.array([{"a": float("nan")}, {"a": 1.0}]), "list": arrow.array([[float("nan"), 2.0], None]),
    }  # fmt: skip
    parquet.write_table(arrow.table(columns), tmp_path / "a.parquet")
    problems = Problems()
    (table,) = read(tmp_path / "a.parquet", problems)
    assert [list(row.values.values()) for row in table.rows] == [
        ["yes", 1.5, {"a": None}, [None, 2.0]], [None, 2, {"a": 1.0}, None],
    ]  # fmt: skip
    assert [problem.code for problem in problems.found] == ["not-text"]
