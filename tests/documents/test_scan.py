"""What is found in folders, what is left out, and what changed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.parts.problem import Problem
from rung.documents import Change, read, scan, under, watch


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("text")


def ids(*paths: Path, **options: object) -> list[str]:
    return [source.id for source in scan(paths, **options)]  # type: ignore[arg-type]


def test_names_kinds_and_what_is_left_out(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    make(
        docs,
        "b.txt",
        "a.md",
        "deep/c.html",
        "deep/d.py",
        ".hidden/e.md",
        "__pycache__/f.txt",
        "g.png",
        "LICENSE",
        ".h.md",
    )
    found = scan(docs)
    assert [(source.id, source.kind) for source in found] == [
        ("docs/LICENSE", "text"),
        ("docs/a.md", "markdown"),
        ("docs/b.txt", "text"),
        ("docs/deep/c.html", "html"),
        ("docs/deep/d.py", "code"),
    ]
    assert scan(docs) == found
    assert all(source.size == 4 and source.mtime_ns == source.path.stat().st_mtime_ns for source in found)
    assert ids(docs, include=["*.md", "deep/*"]) == ["docs/a.md", "docs/deep/c.html", "docs/deep/d.py"]
    assert ids(docs, exclude=["deep/*", "LICENSE"]) == ["docs/a.md", "docs/b.txt"]
    assert ids(docs, include=["*.png"]) == ["docs/g.png"]
    assert ids(docs / "g.png") == ["g.png"]  # named itself
    assert ids(docs / "a.md", docs) == [source.id for source in found]


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    make(tmp_path, "one/docs/a.md", "two/docs/a.md")
    assert ids(tmp_path / "one" / "docs", tmp_path / "two" / "docs") == ["one/docs/a.md", "two/docs/a.md"]


def test_a_file_has_one_id_for_as_long_as_roots_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "one/docs/a.md", "two/docs/a.md", "two/docs/deep/b.md")
    roots: dict[str, str] = {}
    assert ids(tmp_path / "one" / "docs", roots=roots) == ["docs/a.md"]
    assert ids(tmp_path / "two" / "docs", roots=roots) == ["two/docs/a.md", "two/docs/deep/b.md"]
    assert ids(tmp_path / "two" / "docs" / "deep", roots=roots) == ["two/docs/deep/b.md"]
    assert ids(tmp_path / "two" / "docs" / "a.md", roots=roots) == ["two/docs/a.md"]
    assert ids(tmp_path, roots=roots) == ["docs/a.md", "two/docs/a.md", "two/docs/deep/b.md"]
    monkeypatch.chdir(tmp_path / "one")
    assert ids(Path("docs"), roots=roots) == ids(Path("../one/docs/"), roots=roots) == ["docs/a.md"]
    inside = under([tmp_path / "two"], roots)
    assert [inside(id) for id in ("docs/a.md", "two/docs/a.md", "two/docs/gone.md", "elsewhere/a.md")] == [
        False, True, True, False,
    ]  # fmt: skip
    assert list(roots.values())[:2] == ["docs", "two/docs"]


def test_a_name_that_is_no_text_is_written_out(tmp_path: Path) -> None:
    with open(bytes(tmp_path) + b"/caf\xe9.txt", "wb") as stream:
        stream.write(b"text")
    (source,) = scan(tmp_path)
    assert source.id == f"{tmp_path.name}/caf\\xe9.txt"
    assert next(read(source)).text == "text"


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    make(tmp_path, "docs/a.md", "secret/b.md")
    (docs / "out").symlink_to(tmp_path / "secret")
    (docs / "out.md").symlink_to(tmp_path / "secret" / "b.md")
    (docs / "in.md").symlink_to(docs / "a.md")
    (docs / "circle").symlink_to(docs)
    (docs / "gone.md").symlink_to(docs / "nothing")
    troubles: list[Problem] = []
    assert ids(docs, troubles=troubles) == ["docs/a.md", "docs/in.md"]
    assert [trouble.file for trouble in troubles] == ["docs/out", "docs/out.md"]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file that can be read"):
        scan(tmp_path)
    with pytest.raises(InputError, match="there is no"):
        scan(tmp_path / "absent")
    with pytest.raises(InputError, match="were named"):
        scan([])


def test_watching_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no"):
        next(watch([tmp_path / "absent"]))


def test_a_watched_folder_tells_what_changed(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    make(tmp_path, "docs/a.md", "docs/b.md", "docs/same.md")
    stop, seen = threading.Event(), list[Change]()
    known = scan([docs])  # what changes before the system watches is told too

    def work() -> None:
        for change in watch([docs], stop=stop, known=known):
            seen.append(change)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def until(changed: set[str], gone: set[str]) -> None:
        """Waits for all of these and allows nothing else: a system may tell of one change in two pieces."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            told = {source.id for change in seen for source in change.changed}
            lost = {id for change in seen for id in change.gone}
            assert told <= changed
            assert lost <= gone
            if (told, lost) == (changed, gone):
                return
            time.sleep(0.02)
        pytest.fail(f"{changed} and {gone} wanted, {seen} told")

    try:
        (docs / "a.md").write_text("changed text")
        (docs / "b.md").unlink()
        until({"docs/a.md"}, {"docs/b.md"})
        make(tmp_path, "docs/new/c.md")
        until({"docs/a.md", "docs/new/c.md"}, {"docs/b.md"})
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_files_that_no_reader_knows_are_counted(tmp_path: Path) -> None:
    for name in ("a.md", "b.bin", "c.BIN", "d.xyz", "e"):
        (tmp_path / name).write_text("text")
    told: list[Problem] = []
    assert [source.path.name for source in scan(tmp_path, troubles=told)] == ["a.md"]
    (one,) = told
    assert (one.code, one.level) == ("no-reader", "warning")
    assert one.message == "4 files have names that no reader knows: .bin 2, .xyz 1, e 1"
    told.clear()
    scan(tmp_path, include=["*.md", "*.xyz"], troubles=told)
    assert told[0].message.startswith("3 files")
