"""The jail: what is inside can be read and written, and no way leads out."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from rung.agents.tools import open_tools
from rung.agents.tools.files import Jail
from rung.core.errors import InputError, RungError
from rung.core.protocols import Tool

pytestmark = pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="this system has no openat")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "jail"
    (inside / "notes").mkdir(parents=True)
    (inside / "notes" / "a.txt").write_text("one\ntwo\nThree\n")
    (inside / "b.md").write_text("two apples")
    (tmp_path / "secret.txt").write_text("SECRET")
    (tmp_path / "jail2").mkdir()
    (tmp_path / "jail2" / "x").write_text("SECRET")
    return inside


def tools(folder: Path, **options: object) -> dict[str, Tool]:
    return {tool.name: tool for tool in open_tools({"name": "files", "target": str(folder), **options})}


async def test_files_are_listed_read_searched_and_written(folder: Path) -> None:
    made = tools(folder, write=True)
    assert set(made) == {"files_list", "files_read", "files_search", "files_write"}
    assert await made["files_list"].call({}, key="") == "b.md (10 bytes)\nnotes/a.txt (14 bytes)"
    assert await made["files_list"].call({"folder": "notes"}, key="") == "notes/a.txt (14 bytes)"
    assert await made["files_read"].call({"path": "notes/a.txt"}, key="") == "one\ntwo\nThree"
    part = await made["files_read"].call({"path": "./notes/a.txt", "first": 2, "lines": 1}, key="")
    assert part == "two\n[1 more lines; go on with first=3]"
    assert await made["files_search"].call({"text": "THREE"}, key="") == "notes/a.txt:3: Three"
    await made["files_write"].call({"path": "new/deep/c.txt", "content": "ü"}, key="")
    assert (folder / "new/deep/c.txt").read_text() == "ü"
    await made["files_write"].call({"path": "b.md", "content": "again"}, key="")
    assert (folder / "b.md").read_text() == "again"
    assert sorted(path.name for path in folder.iterdir()) == ["b.md", "new", "notes"]
    assert made["files_write"].effect == "keyed"
    assert "files_write" not in tools(folder)


ESCAPES = [
    "../secret.txt", "notes/../../secret.txt", "/etc/passwd", "..", "notes/..", "./../secret.txt", "notes//a.txt",
    "a\0b", "..\\secret.txt", "link", "links/secret.txt", "hard", "pipe", "socket", "/proc/self/environ",
    "proc/self/environ", "/dev/zero", "dangling", "n" * 300, "notes", "jail2/x", "../jail2/x", "absent",
]  # fmt: skip


@pytest.mark.parametrize("path", ESCAPES)
async def test_no_way_leads_out(folder: Path, path: str) -> None:
    outside = folder.parent
    (folder / "link").symlink_to(outside / "secret.txt")
    (folder / "links").symlink_to(outside)
    (folder / "dangling").symlink_to(outside / "new.txt")
    (folder / "proc").symlink_to("/proc")
    os.link(outside / "secret.txt", folder / "hard")
    os.mkfifo(folder / "pipe")
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as bound:
        os.chdir(folder)
        try:
            bound.bind("socket")
        finally:
            os.chdir(here)
        made = tools(folder, write=True)
        with pytest.raises(RungError) as raised:
            await made["files_read"].call({"path": path}, key="")
        assert raised.value.code in ("jail", "input")
        if path not in ("absent", "jail2/x"):
            with pytest.raises(RungError):
                await made["files_write"].call({"path": path, "content": "x"}, key="")
        found = await made["files_search"].call({"text": "SECRET"}, key="")
        assert "link" not in found
    assert (outside / "secret.txt").read_text() == "SECRET"
    assert not (outside / "new.txt").exists()


def test_a_link_made_in_the_middle_of_a_call_is_not_followed(folder: Path) -> None:
    """Another process swaps a folder and a link to the outside as fast as it can."""
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("SECRET")
    jail = Jail(folder, 1 << 20)
    going = True

    def swap() -> None:
        notes, kept = folder / "notes", folder / "kept"
        while going:
            steps: list[Callable[[], object]] = [
                lambda: os.rename(notes, kept),
                lambda: os.symlink(outside, notes),
                lambda: time.sleep(0.0001),
                lambda: os.unlink(notes),
                lambda: shutil.rmtree(notes),  # a writing has made the folder anew
                lambda: os.rename(kept, notes),
                lambda: time.sleep(0.0002),
            ]
            for step in steps:
                with suppress(OSError):
                    step()

    swapper = threading.Thread(target=swap)
    swapper.start()
    read = 0
    try:
        for _ in range(20_000):
            if read > 50:
                break
            try:
                assert b"SECRET" not in jail.read("notes/a.txt")
                read += 1
                jail.write("notes/w.txt", b"w")
            except RungError:
                pass
    finally:
        going = False
        swapper.join()
    assert not (outside / "w.txt").exists()
    assert read


async def test_the_folder_has_an_end(folder: Path) -> None:
    made = tools(folder, write=True, room=1)
    await made["files_write"].call({"path": "f1", "content": "x" * 600_000}, key="")
    for content, code in (("x" * 600_000, "jail-full"), ("x" * 1_000_001, "arguments")):
        with pytest.raises(InputError) as raised:
            await made["files_write"].call({"path": "f2", "content": content}, key="")
        assert raised.value.code == code
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1 << 20


async def test_what_is_no_text_is_said(folder: Path) -> None:
    (folder / "x.bin").write_bytes(b"\0\1\2")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    made = tools(folder)
    with pytest.raises(InputError):
        await made["files_read"].call({"path": "x.bin"}, key="")
    assert await made["files_read"].call({"path": "latin.txt"}, key="") == "caf\ufffd"


@pytest.mark.parametrize("target", ["", "absent/folder"])
def test_a_folder_must_be_there(target: str) -> None:
    with pytest.raises(InputError):
        open_tools(f"files:{target}")
