"""Every reader, on good files and bad ones."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rung.core.errors import InputError, MissingExtra
from rung.core.parts import registry
from rung.core.parts.problem import Problem, Problems
from rung.core.types import Document
from rung.documents import Reader, Source, read, scan
from rung.documents.source import parse
from tests.documents.material import WORD, docx, paragraph, pdf


def source(path: Path) -> Source:
    return scan(path)[0]


def documents(path: Path) -> tuple[list[Document], list[Problem]]:
    """As they are read in this process (see test_reading for the one that reads for others)."""
    problems = Problems()
    return list(parse(source(path), problems)), list(problems.close())


def only(path: Path) -> Document:
    found, troubles = documents(path)
    assert troubles == []
    assert len(found) == 1
    return found[0]


GOOD: dict[str, Callable[[Path], Path]] = {}


def good(kind: str, name: str, content: bytes) -> None:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    GOOD[kind] = write


good("text", "a.txt", b"The Danube flows.\n")
good("markdown", "a.md", b"# Rivers\n\nThe Danube flows.\n")
good("html", "a.html", b"<p>The Danube flows.</p>")
good("pdf", "a.pdf", pdf("The Danube flows."))
good("docx", "a.docx", docx(paragraph("The Danube flows.")))
good("csv", "a.csv", b"id,text\n1,The Danube flows.\n")
good("jsonl", "a.jsonl", b'{"id": 1, "text": "The Danube flows."}\n')
good("json", "a.json", b'[{"id": 1, "text": "The Danube flows."}]')
good("code", "a.py", b'"""The Danube flows."""\n')


@pytest.mark.parametrize("kind", sorted(registry.table("reader")))
def test_the_contract_of_every_reader(kind: str, tmp_path: Path) -> None:
    reader = registry.load("reader", kind)
    assert isinstance(reader, Reader)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in reader.suffixes)
    path = GOOD[kind](tmp_path)
    found = source(path)
    assert found.kind == kind
    assert found.size == path.stat().st_size
    document = only(path)
    assert "The Danube flows." in document.text
    assert document.id.startswith(found.id)
    assert document.metadata["kind"] == kind
    assert list(read(found)) == [document]
    path.unlink()
    missing, troubles = [], []  # type: ignore[var-annotated]
    missing = list(read(found, troubles))
    assert missing == []
    assert troubles[0].code in ("unreadable", "not-found")
    with pytest.raises(InputError) as raised:
        list(read(found))
    assert raised.value.code == troubles[0].code


@pytest.mark.parametrize("kind", sorted(registry.table("reader")))
def test_no_reader_falls_over_bytes_that_are_not_its_format(kind: str, tmp_path: Path) -> None:
    suffix = registry.load("reader", kind).suffixes[0]
    for number, content in enumerate(
        (bytes(range(256)) * 40, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 20, b"PK\x03\x04" + b"\0" * 300)
    ):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(content)
        found, troubles = documents(path)
        assert found == []
        assert len(troubles) == 1
        assert troubles[0].level == "error"
        assert troubles[0].file == path.name
        with pytest.raises(InputError) as raised:
            list(read(source(path)))
        assert path.name in raised.value.message


@pytest.mark.parametrize(
    ("content", "text", "encoding"),
    [
        ("naïve – café".encode(), "naïve – café", None),
        ("\ufeffnaïve".encode(), "naïve", None),
        ("naïve".encode("utf-16"), "naïve", "utf-16"),
        ("naïve text of many letters".encode("utf-16-le"), "naïve text of many letters", "utf-16-le"),
        ("naïve".encode("utf-32"), "naïve", "utf-32"),
        ("naïve – café “so”".encode("cp1252"), "naïve – café “so”", "cp1252"),
        ("größer, schöner, naïve, café, über".encode() + " – caf\xe9".encode("latin-1", "ignore"), "größer", "utf-8 and cp1252"),
        (("Привет, мир! Это текст на русском языке. " * 20).encode("cp1251"), "Привет, мир!", "cp1251"),
        (b"one\r\ntwo\rthree", "one\ntwo\nthree", None),
    ],
)  # fmt: skip
def test_encodings(content: bytes, text: str, encoding: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    found, troubles = documents(tmp_path / "a.txt")
    assert found[0].text.startswith(text)
    assert "�" not in found[0].text
    assert found[0].metadata.get("encoding") == encoding
    told = encoding is not None and not encoding.startswith("utf-16") and not encoding.startswith("utf-32")
    assert [trouble.level for trouble in troubles] == (["warning"] if told else [])
    if told:
        assert troubles[0].line == 1


def test_a_long_single_line_is_read_without_being_held_twice(tmp_path: Path) -> None:
    size = 24 << 20
    (tmp_path / "a.txt").write_bytes(b"word " * (size // 5))
    found = source(tmp_path / "a.txt")
    tracemalloc.start()
    (document,) = read(found)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(document.text) == size // 5 * 5
    assert peak < 1.5 * size


def test_front_matter_becomes_metadata(tmp_path: Path) -> None:
    page = (
        "---\ntitle: Rivers\ntags: [a, 2]\ndate: 2024-05-01\ndraft: false\nnested: {a: {b: 1}}\n---\n# Other\n\nText.\n"
    )
    (tmp_path / "a.md").write_text(page)
    (document,), (trouble,) = documents(tmp_path / "a.md")
    assert (trouble.code, trouble.level, trouble.line) == ("not-metadata", "warning", 1)  # the nested one
    assert document.text == "# Other\n\nText.\n"
    assert document.metadata == {
        "kind": "markdown", "title": "Rivers", "tags": ["a", "2"], "date": "2024-05-01", "draft": False
    }  # fmt: skip
    (tmp_path / "b.md").write_text("+++\ntitle = 'T'\nweight = 3\n+++\nText.")
    assert only(tmp_path / "b.md").metadata == {"kind": "markdown", "title": "T", "weight": 3}
    (tmp_path / "b.md").write_text("---\ntitle: T\n...\nText.")
    assert only(tmp_path / "b.md").metadata["title"] == "T"
    (tmp_path / "b.md").write_text("---\ntitle: A\ntitle: B\n---\nText.")
    assert [trouble.code for trouble in documents(tmp_path / "b.md")[1]] == ["front-matter"]
    (tmp_path / "c.md").write_text("---\n\nA rule, no front matter.\n\n---\n\n# Title #\n")
    assert only(tmp_path / "c.md").metadata["title"] == "Title"
    (tmp_path / "d.md").write_text("---\ntitle: [\n---\nText.")
    found, troubles = documents(tmp_path / "d.md")
    assert found[0].text.endswith("Text.")
    assert "front matter" in troubles[0].message
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(12)
    )
    (tmp_path / "e.md").write_text(f"---\n{bomb}---\nText.")
    (document,), troubles = documents(tmp_path / "e.md")
    assert document.metadata == {"kind": "markdown", "a": ["x"] * 9}
    assert len(troubles) == 6  # five, and that there are more


def test_a_page_without_its_scripts_and_menus(tmp_path: Path) -> None:
    page = """<!doctype html><html lang="en"><head><title> The
      Danube </title><style>p {}</style><script>var x = "<p>no</p>";</script></head><body><nav><a>Home</a></nav>
      <h1>Rivers</h1><p>The <b>Danube</b>&nbsp;flows
      &amp; bends.</p><p hidden>secret</p><ul><li>one</li><li>two <i>b</i></li></ul>
      <table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>
      <pre>x = 1
  y = 2</pre><script>no()</script><!-- no --><p>Last<br>line</p></body></html>"""
    (tmp_path / "a.html").write_text(page)
    document = only(tmp_path / "a.html")
    assert document.text == (
        "# Rivers\n\nThe Danube flows & bends.\n\n- one\n- two b\n\na | b\n1 | 2\n\n```\nx = 1\n  y = 2\n```\n\nLast\nline"
    )
    assert document.metadata == {"kind": "html", "title": "The Danube", "lang": "en"}
    (tmp_path / "b.html").write_bytes(b'<meta charset="iso-8859-1"><p>caf\xe9 \x93so\x94</p>')
    assert only(tmp_path / "b.html").text == "café “so”"
    (tmp_path / "c.html").write_text("<header>menu</header><main><p>In.</p></main><footer>out</footer>")
    assert only(tmp_path / "c.html").text == "In."
    (tmp_path / "d.html").write_text("<div>" * 20_000 + "deep" + "</div>" * 20_000)
    (document,), (trouble,) = documents(tmp_path / "d.html")
    assert (document.text, trouble.code, trouble.level) == ("deep", "too-deep", "warning")


def test_the_pages_of_a_pdf(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("The first page.", "", "The third page."))
    document = only(tmp_path / "a.pdf")
    spans = [tuple(map(int, span.split("-"))) for span in document.metadata["pages"]]
    assert [document.text[start:end] for start, end in spans] == ["The first page.", "", "The third page."]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pdf("Text.")[:200], "not a readable PDF"),
        (b"%PDF-1.4 garbage", "not a readable PDF"),
        (b"", "not a readable PDF"),
        (pdf("", ""), "pictures"),
    ],
)
def test_broken_pdfs(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(content)
    found, troubles = documents(tmp_path / "a.pdf")
    assert found == []
    assert words in troubles[0].message


def test_a_word_document(tmp_path: Path) -> None:
    table = f"<w:tbl><w:tr><w:tc>{paragraph('a')}</w:tc><w:tc>{paragraph('b')}</w:tc></w:tr></w:tbl>"
    numbered = '<w:numPr><w:ilvl w:val="0"/></w:numPr>'
    body = (
        paragraph("Rivers", '<w:pStyle w:val="berschrift1"/>')
        + "<w:p><w:r><w:t>The </w:t></w:r><w:r><w:t>Danube</w:t><w:tab/><w:t>flows.</w:t></w:r></w:p>"
        + paragraph("one", numbered)
        + paragraph("two", numbered)
        + table
        + f"<w:sdt><w:sdtContent>{paragraph('In a control.')}</w:sdtContent></w:sdt>"
    )
    (tmp_path / "a.docx").write_bytes(docx(body))
    document = only(tmp_path / "a.docx")
    assert document.text == "# Rivers\n\nThe Danube\tflows.\n\n- one\n- two\n\na | b\n\nIn a control."
    assert document.metadata["title"] == "The report"


def test_broken_word_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {
        "cut.docx": docx(paragraph("text"))[:300],
        "entities.docx": docx("&a;", head='<!DOCTYPE x [<!ENTITY a "b">]>'),
        "xml.docx": docx("<w:p>"),
        "old.docx": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    }
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "no document")
    bad["zip.docx"] = other.getvalue()
    bad["bomb.docx"] = docx(paragraph("0" * 3_000_000))
    monkeypatch.setattr("rung.documents.formats.docx.package.PART", 1 << 20)
    words = {
        "cut": "zip archive",
        "entities": "document type",
        "xml": "damaged",
        "old": "password",
        "zip": "no Word document",
        "bomb": "more than 1 MB",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        found, troubles = documents(tmp_path / name)
        assert found == []
        assert words[name.partition(".")[0]] in troubles[0].message


def test_a_row_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,title,text,year\nr1,T,"B, with\nlines",2020\n,,C,\n')
    found, troubles = documents(tmp_path / "a.csv")
    assert troubles == []
    assert found == [
        Document("a.csv:r1", "T\n\nB, with\nlines", {"kind": "csv", "id": "r1", "title": "T", "year": 2020}),
        Document("a.csv:4", "C", {"kind": "csv"}),
    ]
    (tmp_path / "b.csv").write_text("name;town\nAnna;Köln\n")
    assert only(tmp_path / "b.csv").text == "name: Anna\ntown: Köln"
    (tmp_path / "c.tsv").write_bytes("text\tn\ncafé\t1\n".encode("cp1252"))
    assert documents(tmp_path / "c.tsv")[0][0].text == "café"
    rows = [{"_id": "1", "text": "A", "n": 2, "tags": ["x"], "nested": {"a": 1}}, {"text": ""}, {"text": "B"}]
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    found, _ = documents(tmp_path / "d.jsonl.gz")
    assert [(item.id, item.text) for item in found] == [("d.jsonl.gz:1", "A"), ("d.jsonl.gz:3", "B")]
    assert found[0].metadata == {"kind": "jsonl", "_id": "1", "n": 2, "tags": ["x"]}
    (tmp_path / "e.json").write_text(json.dumps({"version": 1, "data": [{"text": "A"}]}))
    assert only(tmp_path / "e.json").text == "A"
    (tmp_path / "f.json").write_text('{"a": 1}')
    assert only(tmp_path / "f.json").text == '{"a": 1}'
    (tmp_path / "g.json").write_text('{"a": "caf\\u00e9"}')
    assert "café" in only(tmp_path / "g.json").text


def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b \\ud83d\\ude00", "n": "\\uDC00"}')
    found = only(tmp_path / "a.jsonl")
    assert (found.text, found.metadata["n"]) == ("a?b 😀", "?")


def test_bad_rows_are_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    lines = ['{"id": 1, "text": "A"}', "{", "[]", '{"id": 1, "text": "again"}', '{"id": 2, "text": "B"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found, troubles = documents(tmp_path / "a.jsonl")
    assert [(item.id[8:], item.text) for item in found] == [("1", "A"), ("1-4", "again"), ("2", "B")]
    assert [(trouble.line, trouble.code) for trouble in troubles] == [
        (2, "not-json"),
        (3, "not-a-row"),
        (4, "id-twice"),
    ]
    with pytest.raises(InputError, match=r"a.jsonl:2: not a JSON"):
        list(read(source(tmp_path / "a.jsonl")))
    (tmp_path / "b.csv").write_text("")
    assert "holds no text" in documents(tmp_path / "b.csv")[1][0].message
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"text": "A"}\n' * 900)[:-20])
    assert documents(tmp_path / "c.jsonl.gz")[1][-1].level == "error"


def test_a_value_that_is_no_metadata_is_told_and_the_rest_goes_in(tmp_path: Path) -> None:
    rows = [
        '{"text": "A", "n": NaN, "m": 1}',
        '{"text": "B", "n": {"a": 1}, "": 2, "big": 1e400}',
        '{"text": "C", "n": 2}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    found, troubles = documents(tmp_path / "a.jsonl")
    assert [item.metadata for item in found] == [
        {"kind": "jsonl", "m": 1},
        {"kind": "jsonl"},
        {"kind": "jsonl", "n": 2},
    ]
    assert {(trouble.code, trouble.level) for trouble in troubles} == {("not-metadata", "warning")}
    assert [trouble.line for trouble in troubles] == [1, 2, 2, 2]
    (tmp_path / "b.md").write_text("---\nscore: .nan\nok: 1\n---\nText.")
    found, troubles = documents(tmp_path / "b.md")
    assert (found[0].metadata, [trouble.code for trouble in troubles]) == (
        {"kind": "markdown", "ok": 1},
        ["not-metadata"],
    )


def test_python_that_does_not_parse_is_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f(:\n  pass\n")
    found, troubles = documents(tmp_path / "a.py")
    assert found[0].metadata["language"] == "python"
    assert troubles[0].level == "warning"
    assert troubles[0].line == 1
    (tmp_path / "b.rs").write_text("fn main() {}")
    assert only(tmp_path / "b.rs").metadata["language"] == "rust"


@pytest.mark.parametrize(("name", "module"), [("a.html", "selectolax.lexbor"), ("a.pdf", "pypdfium2")])
def test_a_reader_whose_package_is_absent_says_what_to_type(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_text("x")
    with pytest.raises(MissingExtra, match="not installed") as raised:
        list(parse(source(tmp_path / name), Problems()))
    assert "rung[documents]" in raised.value.remedy


def test_what_a_word_document_can_hold(tmp_path: Path) -> None:
    def run(text: str) -> str:
        return f"<w:r><w:t>{text}</w:t></w:r>"

    box = f"<w:txbxContent>{paragraph('In a box.')}</w:txbxContent>"
    both = f"<mc:AlternateContent><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent>"
    inner = f"<w:tbl><w:tr><w:tc>{paragraph('x')}</w:tc><w:tc>{paragraph('y')}</w:tc></w:tr></w:tbl>"
    cases = {
        f"<w:p>{run('Said.')}<w:r>{both}</w:r></w:p>": "Said.\n\nIn a box.",
        f"<w:tbl><w:tr><w:tc>{paragraph('a')}{inner}</w:tc><w:tc>{paragraph('b')}</w:tc></w:tr></w:tbl>": "a x, y | b",
        f"<w:customXml><w:ins>{paragraph('wrapped')}</w:ins></w:customXml>": "wrapped",
        f"<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:moveFrom>{run('gone')}</w:moveFrom>{run('kept')}</w:p>": "kept",
        f"<w:p><w:fldSimple>{run('field')}</w:fldSimple><w:bdo>{run(' bdo')}</w:bdo></w:p>": "field bdo",
        "<w:p><m:oMath><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f></m:oMath></w:p>": "a/b",
        '<w:p><w:r><w:sym w:font="Symbol" w:char="F062"/></w:r></w:p>': "β",
        f'<w:p>{run("10")}<w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:t>3</w:t></w:r></w:p>': "10^3",
        f"<w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>{run('seen')}</w:p>": "seen",
        f"<w:p><w:pPr><w:outlineLvl w:val='1'/></w:pPr>{run('Deep')}</w:p>": "## Deep",
        "<w:sdt><w:sdtContent>" * 3000 + paragraph("far down") + "</w:sdtContent></w:sdt>" * 3000: "far down",
    }  # fmt: skip
    for body, text in cases.items():
        (tmp_path / "a.docx").write_bytes(docx(body))
        assert only(tmp_path / "a.docx").text == text


def test_the_parts_of_a_word_document(tmp_path: Path) -> None:
    space = f'xmlns:w="{WORD}"'
    kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {
        "_rels/.rels": f'<r><Relationship Type="{kinds}/officeDocument" Target="/word/other.xml"/></r>',
        "word/_rels/other.xml.rels": f'<r><Relationship Type="{kinds}/footnotes" Target="footnotes.xml"/>'
        f'<Relationship Type="{kinds}/header" Target="header1.xml"/><Relationship Type="{kinds}/comments" Target="c.xml"/></r>',
        "word/other.xml": f"<w:document {space}><w:body><w:p><w:r><w:t>Due.</w:t></w:r>"
        '<w:r><w:footnoteReference w:id="2"/></w:r></w:p></w:body></w:document>',
        "word/footnotes.xml": f'<w:footnotes {space}><w:footnote w:id="0">{paragraph("rule")}</w:footnote>'
        f'<w:footnote w:id="2">{paragraph("Not in May.")}</w:footnote></w:footnotes>',
        "word/header1.xml": f"<w:hdr {space}>{paragraph('Confidential')}</w:hdr>",
        "word/c.xml": f"<w:comments {space}><w:comment/></w:comments>",
    }
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    (document,), (trouble,) = documents(tmp_path / "a.docx")
    assert document.text == "Due.[1]\n\n[1] Not in May.\n\nConfidential"
    assert (trouble.code, trouble.level) == ("parts-left-out", "warning")


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>10<sup>6</sup>, 2026<sup>1</sup>, 1<sup>st</sup>, CO<sub>2</sub></p>", "10^6, 2026^1, 1st, CO2"),
        ("<p>Yes<sup><a href='#n'>4</a></sup>.</p>", "Yes[4]."),
        ("<ol start=2><li><p>two</p><li>three</ol>", "2. two\n\n3. three"),
        ("<table><tr><td><p>a</p><p>b</p><td>c<br>d</table>", "a b | c d"),
        ("<main> <nav>x</nav></main><p>Body.</p>", "Body."),
        ("<p style='display:none'>no</p><del>no</del><p>yes</p><h2></h2>", "yes"),
        ("<h1>One<br>Two</h1>", "# One Two"),
        (
            "<p>10<span style='color:red;vertical-align: super'>6</span>, 1<sup>1</sup>&frasl;<sub>2</sub></p>",
            "10^6, 1 1⁄2",
        ),
        (
            "<p hidden='until-found'>yes</p><form><label>Name</label><textarea>given</textarea></form>",
            "yes\n\nName\ngiven",
        ),
        ("<math><mroot><mi>x</mi><mn>3</mn></mroot></math>", "√(x,3)"),
        ("<dl><dt>T<dd>D</dl><details><summary>S</summary>More</details>", "T\nD\n\nS\n\nMore"),
    ],
)
def test_what_a_page_means(page: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(page)
    assert only(tmp_path / "a.html").text == text


@pytest.mark.parametrize("name", ["idna", "hex", "x-none", "undefined", "unicode_escape"])
def test_a_page_that_names_no_encoding(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(f'<meta charset="{name}"><p>'.encode() + b"caf\xe9")
    assert documents(tmp_path / "a.html")[0][0].text == "café"


def test_a_page_of_xml_closes_what_it_opens(tmp_path: Path) -> None:
    page = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title/><script src="a>b"/></head><body><nav/><p>All.</p></body></html>'
    (tmp_path / "a.xhtml").write_text(page)
    (tmp_path / "b.html").write_text(f'<?xml version="1.0"?>{page}')
    assert [only(tmp_path / name).text for name in ("a.xhtml", "b.html")] == ["All.", "All."]


def test_a_scanned_page_with_a_stamp_is_told(tmp_path: Path) -> None:
    content = b"BT /F1 12 Tf 72 720 Td (%s) Tj ET" % (b"x" * 120)
    for wide, codes in ((612, ["pictures"]), (60, [])):
        stamped = (
            b"q %d 0 0 792 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x00 EI Q BT /F1 12 Tf 72 720 Td (p. 2) Tj ET" % wide
        )
        (tmp_path / "a.pdf").write_bytes(pdf("Text.", "x" * 120).replace(content, stamped.ljust(len(content))))
        assert [trouble.code for trouble in documents(tmp_path / "a.pdf")[1]] == codes


def test_words_of_a_pdf_are_whole_and_pictures_are_told(tmp_path: Path) -> None:
    from rung.documents.formats.pdf import _ranges, tidy

    assert tidy("infor\x02mation, soft\xad\r\nware, e\ufb03cient\x00 end\r\n") == "information, software, efficient end"
    assert _ranges([2, 3, 4, 7]) == "2-4, 7"
    picture = b"q 10 0 0 10 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x00 EI Q"
    whole = pdf("Text.", "Picture.")
    content = b"BT /F1 12 Tf 72 720 Td (Picture.) Tj ET"
    (tmp_path / "a.pdf").write_bytes(whole.replace(content, picture.ljust(len(content))))
    (document,), troubles = documents(tmp_path / "a.pdf")
    assert document.text.strip() == "Text."
    assert [(trouble.code, trouble.level) for trouble in troubles] == [("pictures", "warning")]


def numbered(number: int, level: int = 0) -> str:
    return f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>'


def test_lists_and_headings_keep_their_numbers(tmp_path: Path) -> None:
    levels = "".join(
        f'<w:lvl w:ilvl="{at}"><w:start w:val="{start}"/><w:numFmt w:val="{form}"/><w:lvlText w:val="{text}"/></w:lvl>'
        for at, (start, form, text) in enumerate(
            [
                (1, "decimal", "%1."),
                (1, "lowerLetter", "%2)"),
                (3, "upperRoman", "(%3)"),
                (0, "decimalZero", "%1.%2.%4"),
            ]
        )
    )
    chapter = '<w:lvl w:ilvl="0"><w:numFmt w:val="decimal"/><w:pStyle w:val="H1"/><w:lvlText w:val="Part %1"/></w:lvl>'
    section = '<w:lvl w:ilvl="1"><w:numFmt w:val="decimal"/><w:pStyle w:val="H2"/><w:lvlText w:val="%1.%2"/></w:lvl>'
    bullets = '<w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/><w:lvlText w:val="o"/></w:lvl>'
    lists = "".join(
        f'<w:abstractNum w:abstractNumId="{at}">{inside}</w:abstractNum>'
        for at, inside in enumerate((levels, chapter + section, bullets))
    )
    lists += "".join(f'<w:num w:numId="{at + 1}"><w:abstractNumId w:val="{at}"/></w:num>' for at in range(3))
    lists += '<w:num w:numId="4"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="7"/></w:lvlOverride></w:num>'
    styles = (
        '<w:style w:styleId="H1"><w:name w:val="heading 1"/><w:pPr><w:numPr><w:numId w:val="2"/></w:numPr></w:pPr></w:style>'
        '<w:style w:styleId="H2"><w:name w:val="heading 2"/><w:basedOn w:val="H1"/>'
        '<w:pPr><w:numPr><w:ilvl w:val="1"/></w:numPr></w:pPr></w:style>'
        '<w:style w:styleId="Own"><w:name w:val="Own"/><w:basedOn w:val="H2"/></w:style>'
    )
    body = (
        paragraph("Aims", '<w:pStyle w:val="H1"/>') + paragraph("Why", '<w:pStyle w:val="H2"/>')
        + paragraph("one", numbered(1)) + paragraph("sub", numbered(1, 1)) + paragraph("sub", numbered(1, 1))
        + paragraph("deep", numbered(1, 2)) + paragraph("code", numbered(1, 3)) + paragraph("two", numbered(1))
        + paragraph("anew", numbered(1, 1)) + paragraph("How", '<w:pStyle w:val="Own"/>') + paragraph("seven", numbered(4))
        + paragraph("dot", numbered(3)) + paragraph("lost", numbered(9)) + paragraph("plain", numbered(0))
    )  # fmt: skip
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        for name, content in (("document", f"<w:body>{body}</w:body>"), ("styles", styles), ("numbering", lists)):
            archive.writestr(f"word/{name}.xml", f'<w:{name} xmlns:w="{WORD}">{content}</w:{name}>')
    (document,), troubles = documents(tmp_path / "a.docx")
    assert troubles == []
    assert document.text == (
        "# Part 1 Aims\n\n## 1.1 Why\n\n1. one\na) sub\nb) sub\n(III) deep\n1.b.00 code\n2. two\na) anew\n\n"
        "## 1.2 How\n\n7. seven\n- dot\n- lost\n\nplain"
    )


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        ("5 10<sup>-9</sup> m, x<sup>k+1</sup>, f<sup>th</sup>, 3<sup>(2)</sup>", "5 10^-9 m, x^(k+1), fth, 3(2)"),
        ('born 1901<sup class="reference"><a href="#n">[7]</a></sup>', "born 1901[7]"),
        ("<math> <mfrac> <mn>3</mn> <mn>4</mn> </mfrac> </math> cup", "3 /4 cup"),
        ("<math><msqrt><mi>a</mi><mo>+</mo><mi>b</mi></msqrt></math>", "√(a+b)"),
        ("was <s>90</s> now 70", "was ~~90~~ now 70"),
        ("<ol><li value=4>d<li>e</ol>", "4. d\n5. e"),
        ("<ol type=A start=2 reversed><li>b<li>a</ol>", "B. b\nA. a"),
        ("<table><tr><td rowspan=2>x<td>1<tr><td>2<tr><td>y<td>3</table>", "x | 1\nx | 2\ny | 3"),
        ("<table><tr><th colspan=2>both<th>c<tr><td>1<td>2<td>3</table>", "both | | c\n1 | 2 | 3"),
        ("<h2> </h2><p>text", "text"),
        ('<p>a <img src=x alt="red  boat"> b<img alt="">', "a red boat b"),
        ("<main hidden>old</main><p>new", "new"),
    ],
)
def test_what_the_parts_of_a_page_mean(inside: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(f"<html><body>{inside}</body></html>")
    (document,), _ = documents(tmp_path / "a.html")
    assert document.text.replace(" | \n", "\n") == text


def sign(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('<w:p><w:r><w:t>at </w:t></w:r><w:r><w:rPr><w:strike/></w:rPr><w:t>9</w:t></w:r></w:p>', "at ~~9~~"),
        ('<w:p><w:r><w:t>10</w:t></w:r>' + "".join(
            f'<w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:t>{sign}</w:t></w:r>' for sign in "-6") + "</w:p>", "10^-6"),
        ('<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val="2"/></w:tcPr><w:p><w:r><w:t>ab</w:t></w:r></w:p></w:tc><w:tc><w:p>'
         "<w:r><w:t>c</w:t></w:r></w:p></w:tc></w:tr></w:tbl>", "ab |  | c"),
        ('<w:p><w:r><w:drawing><docPr descr="A plan"/></w:drawing></w:r><w:r><w:t>below</w:t></w:r></w:p>', "A plan below"),
        ('<w:p><w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent><w:r><w:t>Click here</w:t></w:r></w:sdtContent></w:sdt>'
         "<w:r><w:t>Ann</w:t></w:r></w:p>", "Ann"),
        ('<w:tbl><w:tr><w:tc><w:tcPr><w:vMerge w:val="restart"/></w:tcPr><w:p><w:r><w:t>ab</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r>'
         "<w:t>c</w:t></w:r></w:p></w:tc></w:tr><w:tr><w:tc><w:tcPr><w:vMerge/></w:tcPr><w:p/></w:tc><w:tc><w:p><w:r><w:t>d</w:t></w:r>"
         "</w:p></w:tc></w:tr></w:tbl>", "ab | c\nab | d"),
        (f"<w:p><m:oMath><m:f><m:num>{sign('a+b')}</m:num><m:den>{sign('2')}</m:den></m:f><m:d><m:e>{sign('x')}</m:e></m:d></m:oMath></w:p>",
         "(a+b)/2(x)"),
        (f'<w:p><m:oMath><m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub>{sign("i=1")}</m:sub><m:sup>{sign("n")}</m:sup><m:e>'
         f"<m:rad><m:deg>{sign('3')}</m:deg><m:e>{sign('i')}</m:e></m:rad></m:e></m:nary></m:oMath></w:p>", "∑_(i=1)^n ∛(i)"),
        (f"<w:p><m:oMath><m:m><m:mr><m:e>{sign('a')}</m:e><m:e>{sign('b')}</m:e></m:mr><m:mr><m:e>{sign('c')}</m:e><m:e>{sign('d')}</m:e>"
         "</m:mr></m:m></m:oMath></w:p>", "a b; c d"),
    ],
)  # fmt: skip
def test_what_the_parts_of_a_word_document_mean(body: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(docx(body))
    (document,), _ = documents(tmp_path / "a.docx")
    assert document.text == text


def test_front_matter_is_read_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\nlang: no\nswitch: on\nplace: 010\ndone: true\nday: 2026-11-30\n---\nText.")
    (document,), _ = documents(tmp_path / "a.md")
    assert {name: document.metadata[name] for name in ("lang", "switch", "place", "done", "day")} == {
        "lang": "no", "switch": "on", "place": 10, "done": True, "day": "2026-11-30",
    }  # fmt: skip
