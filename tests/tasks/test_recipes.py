"""The packs of the domain recipes: what their cards say, splits without leaks, holes in code."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from rung import tasks
from rung.core.errors import InputError
from rung.core.types import Example, Split, Task
from rung.tasks.identity import identity
from rung.tasks.packs.middle import HOLES, LONGEST, SHORTEST, holes

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


def everything(task: Task) -> list[Example]:
    return [example for split in SPLITS for example in task.split(split)]


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = identity(text).split()
    return frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset([tuple(words)])


# ---------------------------------------------------------------- licence-clauses


@pytest.fixture(scope="module")
def clauses() -> Task:
    return tasks.load("licence-clauses")


def test_clauses_load_clean_and_match_the_card(clauses: Task) -> None:
    assert tasks.validate("licence-clauses") == []
    card = (tasks.locate("licence-clauses").parent / "CARD.md").read_text(encoding="utf-8")
    for split in SPLITS:
        assert f"| {split} | {len(clauses.split(split))} |" in card
    assert f"{len(everything(clauses))} clauses of {len({e.metadata['licence'] for e in everything(clauses)})} " in card
    assert set(clauses.label_notes) == set(clauses.form.labels) == set(clauses.rules)
    counts = Counter(example.reference for example in everything(clauses))
    assert set(counts) == set(clauses.form.labels)
    assert min(counts.values()) >= 14


def test_no_family_of_licences_is_in_two_splits(clauses: Task) -> None:
    families = [{example.metadata["family"] for example in clauses.split(split)} for split in SPLITS]
    licences = [{example.metadata["licence"] for example in clauses.split(split)} for split in SPLITS]
    assert all(not a & b for a, b in combinations(families, 2))
    assert all(not a & b for a, b in combinations(licences, 2))


def test_no_clause_comes_twice_or_nearly_so(clauses: Task) -> None:
    texts = [example.input["text"] for example in everything(clauses)]
    sets = [shingles(text) for text in texts]
    close = [
        (texts[a], texts[b])
        for a, b in combinations(range(len(texts)), 2)
        if len(sets[a] & sets[b]) >= 0.5 * len(sets[a] | sets[b])
    ]
    assert close == []


# ---------------------------------------------------------------- fill in the middle


@pytest.mark.slow
def test_holes_of_the_standard_library_put_the_line_back_together() -> None:
    task = tasks.load("stdlib-fim")
    assert [len(task.split(split)) for split in SPLITS] == [200, 30, 100]
    files = [{example.metadata["file"] for example in task.split(split)} for split in SPLITS]
    assert all(not a & b for a, b in combinations(files, 2))
    from rung.tasks.packs.middle import stdlib

    for example in everything(task):
        text = (stdlib() / example.metadata["file"]).read_text(encoding="utf-8")
        whole = example.input["before"] + example.reference
        assert whole.rpartition("\n")[2] in text
        assert SHORTEST <= len(example.reference) <= LONGEST
        assert "\n" not in example.reference
        assert example.reference == example.reference.strip()


def code(folder: Path, count: int = 12) -> Path:
    for number in range(count):
        body = [
            f"def area_{number}_{at}(width, height):\n    scale_{at} = {number} * {at} + 1\n    return scale_{at} * width * height\n"
            for at in range(20)
        ]
        (folder / "src").mkdir(parents=True, exist_ok=True)
        (folder / "src" / f"shape{number}.py").write_text('"""Areas."""\n' + "\n".join(body), encoding="utf-8")
    (folder / "src" / "main.go").write_text(
        "package main\n\nfunc main() {\n\tvalue := compute(1, 2)\n\tfmt.Println(value, 42)\n}\n", encoding="utf-8"
    )
    (folder / "src" / "broken.py").write_text("def (:\n    x = compute(1)\n", encoding="utf-8")
    (folder / "src" / "latin.py").write_bytes("name = 'é'\n".encode("latin-1"))
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "x.js").write_text("  var value = compute(1);\n" * 3, encoding="utf-8")
    return folder


def test_a_task_from_a_folder_of_ones_own_code(tmp_path: Path) -> None:
    path = tasks.init(tmp_path / "mine", kind="fim", source=code(tmp_path / "code"))
    task = tasks.load(path)
    assert task.name == "mine"
    files = [{example.metadata["file"] for example in task.split(split)} for split in SPLITS]
    assert all(files)
    assert all(not a & b for a, b in combinations(files, 2))
    assert "src/main.go" in set.union(*files)
    assert not any("node_modules" in name or "broken" in name or "latin" in name for name in set.union(*files))
    assert max(Counter(example.metadata["file"] for example in everything(task)).values()) <= HOLES
    assert tasks.load(path).hash == task.hash


def test_a_new_file_moves_no_hole(tmp_path: Path) -> None:
    folder = code(tmp_path)
    before = [row for _, _, row in holes(folder)]
    (folder / "src" / "extra.py").write_text(
        "def f(a):\n    wanted = a.compute(1, 2)\n    return wanted\n", encoding="utf-8"
    )
    after = [row for _, _, row in holes(folder) if row["file"] != "src/extra.py"]
    assert after == before


def test_a_folder_without_code_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    path = tasks.init(tmp_path / "mine", kind="fim", source=tmp_path / "empty")
    told = [problem.message for problem in tasks.validate(path)]
    assert any("no source file with a line to fill" in message for message in told)
    with pytest.raises(InputError, match="needs a folder"):
        tasks.init(tmp_path / "other", kind="fim")
    with pytest.raises(InputError, match="reads no folder"):
        tasks.init(tmp_path / "other", kind="json", source=tmp_path)


@pytest.mark.parametrize("name", ["licence-clauses", "stdlib-qa"])
def test_a_pack_is_copied_as_a_beginning(tmp_path: Path, name: str) -> None:
    path = tasks.init(tmp_path / "own", kind=name)
    mine, theirs = tasks.load(path), tasks.load(name)
    assert mine.name == "own"
    assert mine.test == theirs.test
    assert json.dumps(mine.rules) == json.dumps(theirs.rules)


# ---------------------------------------------------------------- support-reply


def test_replies_load_clean_and_two_topics_are_new_in_test() -> None:
    assert tasks.validate("support-reply") == []
    task = tasks.load("support-reply")
    card = (tasks.locate("support-reply").parent / "CARD.md").read_text(encoding="utf-8")
    for split in SPLITS:
        assert f"| {split} | {len(task.split(split))} |" in card
    topics = [{example.metadata["topic"] for example in task.split(split)} for split in SPLITS]
    assert topics[2] - topics[0] == {"gift", "rental"}
    messages = [identity(example.input["message"]) for example in everything(task)]
    assert len(set(messages)) == len(messages)
    sets = [shingles(str(example.reference).split("\n\n")[1]) for example in everything(task)]
    shared = [len(a & b) / len(a | b) for a, b in combinations(sets, 2)]
    assert max(shared) < 0.5
    for example in everything(task):
        assert str(example.reference).startswith("Hei")
        assert str(example.reference).endswith("Ha det fint ute,\nFjellbua")


# ---------------------------------------------------------------- clinic-qa


def test_notes_load_clean_and_answers_stand_in_them() -> None:
    assert tasks.validate("clinic-qa") == []
    task = tasks.load("clinic-qa")
    card = (tasks.locate("clinic-qa").parent / "CARD.md").read_text(encoding="utf-8")
    notes = [{example.input["note"] for example in task.split(split)} for split in SPLITS]
    assert all(not a & b for a, b in combinations(notes, 2))
    for split, texts in zip(SPLITS, notes, strict=True):
        assert f"| {split} | {len(task.split(split))} | {len(texts)} |" in card
    for example in everything(task):
        assert str(example.reference) in example.input["note"]
        assert "[[" not in example.input["note"]


def test_the_recipes_are_small() -> None:
    names = ("licence-clauses", "support-reply", "stdlib-fim", "clinic-qa")
    files = [file for name in names for file in tasks.locate(name).parent.iterdir()]
    assert sum(file.stat().st_size for file in files if file.is_file()) < 300_000
