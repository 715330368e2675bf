"""The pages are run: every Python block, every `rung` line, and the names that the tables promise."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rung.cli.base import reference
from rung.core.parts import registry
from tests.command import rung

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


PYTHON = [(page.name, code) for page in PAGES for code in blocks(page, "python")]


@pytest.mark.parametrize("code", [code for _, code in PYTHON], ids=[name for name, _ in PYTHON])
@pytest.mark.slow
def test_python_blocks_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNG_MODEL", "fake:echo")
    module = ModuleType("__main__")  # a block may define classes, which are looked for where they say they are
    monkeypatch.setitem(sys.modules, "__main__", module)
    exec(compile(code, "block", "exec"), module.__dict__)


@pytest.mark.slow
def test_the_commands_of_the_readme_run_in_their_order(tmp_path: Path) -> None:
    use = next(block for block in blocks(ROOT / "README.md", "sh") if "rung init" in block)
    lines = [part.strip() for line in use.splitlines() for part in line.partition("#")[0].split(";") if part.strip()]
    assert len(lines) > 12
    example = ""
    for line in lines:
        words = [word if word != "EXAMPLE" else example for word in shlex.split(line)]
        words = ["last" if word == "RUN" else word for word in words]
        if words[1] == "serve":  # it does not end; tests/serving talks to it
            continue
        words = ["fake:echo" if word.startswith("openvino:") else word for word in words]
        done = rung(*words[1:], folder=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        if words[1:4] == ["show", "last", "zero-shot"] and not example:
            rows = done.stdout.strip().splitlines()[1:]
            example = rows[0].split()[0]
            assert example, "the fake model got everything right: nothing to show"


def test_every_rung_is_on_the_page_and_every_name_there_exists() -> None:
    page = (ROOT / "docs" / "rungs.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| rung \|.*\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = "\n".join(line.split("|")[1] for line in "".join(tables).splitlines())
    assert set(re.findall(r"`([\w-]+)`", rows)) == set(registry.table("rung"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_tree_in_the_readme_is_the_tree() -> None:
    tree = next(block for block in blocks(ROOT / "README.md", "text") if "src/rung/" in block)
    named = set(re.findall(r"^  (\w+)/", tree, re.MULTILINE))
    rooms = {path.name for path in (ROOT / "src" / "rung").iterdir() if (path / "__init__.py").exists()}
    assert named == rooms


@pytest.mark.slow
def test_the_tutorial_runs_as_typed(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"^```yaml\n# file: (\S+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
        shutil.copy(ROOT / "docs" / "tutorial" / "messages.csv", (tmp_path / name).parent)
    commands = re.findall(r"^\$ (.+)$", page, re.MULTILINE)
    assert len(commands) > 5
    for line in commands:
        done = rung(*shlex.split(line)[1:], folder=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_pages_made_from_the_code_are_as_the_code_is(name: str) -> None:
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == reference.PAGES[name](), "stale: type make docs"
