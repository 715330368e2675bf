"""Task files as users write them: what loads, what stays frozen, and every mistake with file, line and remedy."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rung import tasks
from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.parts.problem import Problem
from rung.core.types import RungChoice, Task

NOUNS = [
    "parcel",
    "invoice",
    "password",
    "refund",
    "voucher",
    "helmet",
    "kettle",
    "lamp",
    "tent",
    "boots",
    "jacket",
    "stove",
    "rope",
    "map",
    "torch",
    "bottle",
]
TEXTS = [(f"My {a} and my {b} are a matter of concern number {i}", "xyz"[i % 3]) for i, (a, b) in enumerate(
    (a, b) for a in NOUNS for b in NOUNS[:5] if a != b
)]  # fmt: skip

TASK = """\
name: demo
instruction: Say which letter it is.
data: rows.csv
columns: {input: text, reference: label}
answer: labels
metrics: [accuracy]
split: {near: off}
"""


def csv_of(rows: list[tuple[str, str]]) -> str:
    return "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "rows.csv").write_text(csv_of(TEXTS))
    return tmp_path


def problems(folder: Path, **files: str) -> list[Problem]:
    return tasks.validate(folder / "task.yaml")


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "task.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def ids(task: Task) -> dict[str, set[str]]:
    return {
        name: {example.id for example in examples}
        for name, examples in (("train", task.train), ("dev", task.dev), ("test", task.test))
    }


# ---------------------------------------------------------------- what loads


def test_a_whole_task(folder: Path) -> None:
    task = tasks.load(folder)
    assert (len(task.train), len(task.dev), len(task.test)) == (45, 12, 18)
    assert task.form.labels == ("x", "y", "z")
    assert task.fields == ("text",)
    assert task.metrics == ("accuracy",)
    assert task.test[0].input["text"].startswith("My ")
    assert {"x", "y", "z"} == {example.reference for example in task.dev}
    assert not set.intersection(*ids(task).values())


def test_splits_stay_when_rows_are_added(folder: Path) -> None:
    before = ids(tasks.load(folder))
    lock = (folder / "demo.splits.json").read_text()
    with (folder / "rows.csv").open("a") as stream:
        stream.writelines(f"An added text about {noun} of {other},x\n" for noun in NOUNS for other in NOUNS)
    examination = tasks.examine(folder)
    assert examination.findings.added == len(NOUNS) ** 2
    assert (folder / "demo.splits.json").read_text() == lock  # examine writes nothing
    after = ids(tasks.load(folder))
    for name, kept in before.items():
        assert kept < after[name]
    (folder / "demo.splits.json").unlink()
    assert ids(tasks.load(folder)) != after  # drawn anew, old rows do move: the lock file is what freezes


def test_row_order_changes_nothing(folder: Path) -> None:
    first = tasks.load(folder)
    (folder / "demo.splits.json").unlink()
    (folder / "rows.csv").write_text(csv_of(TEXTS[::-1]))
    assert tasks.load(folder) == first


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("metrics:", "tolerance: 0.1\nbudget: {tokens: 5}\ntarget: 0.9\nmodels: ['fake:x']\nmetrics:", True),
        ("metrics:", "description: other\nmetrics:", True),
        ("which letter", "what letter", False),
        ("answer: labels", "answer: {labels: {x: a note, y: , z: }}", False),
        ("[accuracy]", "[accuracy, macro-f1]", False),
        ("metrics:", "limit: {test: 5}\nmetrics:", False),
        ("metrics:", "max_tokens: 3\nmetrics:", False),
    ],
)
def test_the_hash_covers_what_answers_and_scores_depend_on(folder: Path, old: str, new: str, same: bool) -> None:
    before = tasks.load(folder).hash
    edit(folder, old, new)
    assert (tasks.load(folder).hash == before) is same


def test_the_hash_covers_data(folder: Path) -> None:
    before = tasks.load(folder).hash
    (folder / "rows.csv").write_text(csv_of([(TEXTS[0][0] + "!", "x"), *TEXTS[1:]]))
    assert tasks.load(folder).hash != before


def test_limits_are_the_start_of_hash_order_not_of_the_file(folder: Path) -> None:
    whole = tasks.load(folder)
    edit(folder, "metrics:", "limit: {test: 6, train: 9}\nmetrics:")
    some = tasks.load(folder)
    assert some.test == whole.test[:6]
    assert some.train == whole.train[:9]
    rows = [text for text, _ in TEXTS]
    places = [rows.index(example.input["text"]) for example in whole.test]
    assert places != sorted(places)
    cut = tasks.cut(whole, test=6, train=9)
    assert cut.test == some.test
    assert cut.hash != whole.hash
    assert tasks.cut(whole, test=10**6) == whole


def test_given_splits_drop_repeats_from_train_never_from_test(folder: Path) -> None:
    edit(folder, "data: rows.csv", "data: {train: rows.csv, dev: dev.csv, test: test.csv}")
    (folder / "dev.csv").write_text(csv_of([("A text of dev that is alone", "x"), ("Shared by dev and test", "y")]))
    (folder / "test.csv").write_text(
        csv_of([("shared by dev; and TEST", "y"), (TEXTS[3][0] + ".", "x"), ("Alone in test", "z")])
    )
    examination = tasks.examine(folder)
    assert examination.task is not None
    assert examination.findings.dropped == {"train": 1, "dev": 1}
    assert examination.findings.straddling == 2
    assert len(examination.task.test) == 3
    assert TEXTS[3][0] not in {example.input["text"] for example in examination.task.train}
    assert any("left out" in problem.message and problem.level == "warning" for problem in examination.problems)
    assert not (folder / "demo.splits.json").exists()  # nothing was drawn
    edit(folder, "{near: off}", "{near: off, duplicates: keep}")
    assert tasks.examine(folder).findings.dropped == {}


def test_dev_is_drawn_from_train_where_only_train_and_test_are_given(folder: Path) -> None:
    edit(folder, "data: rows.csv", "data: {train: rows.csv, test: test.csv}")
    (folder / "test.csv").write_text(csv_of([("one", "x"), ("two", "y"), ("three", "z")]))
    task = tasks.load(folder)
    assert (len(task.train), len(task.dev), len(task.test)) == (60, 15, 3)
    assert (folder / "demo.splits.json").exists()


def test_near_duplicates_and_groups_share_a_split(folder: Path) -> None:
    edit(folder, "{near: off}", "{near: 0.8}")
    edit(folder, "reference: label", "reference: label, group: who")
    texts = [f"{text} {word}" for text in ("A long message on a broken kettle that leaks all the time", "Where may the red helmet be that I ordered last week")
             for word in ("please", "Please!", "pleas")] + [text for text, _ in TEXTS]  # fmt: skip
    (folder / "rows.csv").write_text(
        "text,label,who\n"
        + "".join(f"{text},{'xyz'[i % 3]},{i // 4 if i > 30 else ''}\n" for i, text in enumerate(texts))
    )
    task = tasks.load(folder)
    where = {example.input["text"]: name for name in ("train", "dev", "test") for example in getattr(task, name)}
    assert len({where[text] for text in texts[:3]}) == 1
    assert len({where[text] for text in texts[3:6]}) == 1
    for group in range(8, len(texts) // 4):
        assert len({where[text] for text in texts[group * 4 : group * 4 + 4]}) == 1


def test_given_ids_groups_metadata_and_a_split_column(folder: Path) -> None:
    rows = [{"n": i, "meta": {"q": text}, "label": label, "who": "w", "part": ["train", "val", "test"][i % 3 if i < 9 else 0]} for i, (text, label) in enumerate(TEXTS[:30])]  # fmt: skip
    rows = [dict(row, label="xy"[index // 3 % 2]) for index, row in enumerate(rows)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    edit(folder, "rows.csv", "rows.jsonl")
    edit(
        folder,
        "{input: text, reference: label}",
        "{input: {body: meta.q}, reference: label, id: n, split: part, metadata: who}",
    )
    task = tasks.load(folder)
    assert {example.id for example in task.dev} == {"1", "4", "7"}
    assert task.fields == ("body",)
    assert task.test[0].metadata == {"who": "w"}


def test_equal_rows_have_distinct_ids(folder: Path) -> None:
    (folder / "rows.csv").write_text(csv_of([*TEXTS, *TEXTS[:5], *TEXTS[:5]]))
    examination = tasks.examine(folder)
    assert examination.task is not None
    assert examination.findings.exact == 10
    assert sum(len(found) for found in ids(examination.task).values()) == len(TEXTS) + 10


def test_numbers_patterns_maps_and_several_answers(folder: Path) -> None:
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"q": text, "a": f"so #### {i + 1},000", "s": [f"{i}", "many"]}) for i, (text, _) in enumerate(TEXTS)))  # fmt: skip
    edit(folder, "rows.csv", "rows.jsonl")
    edit(folder, "{input: text, reference: label}", "{input: q, reference: {column: a, pattern: '#### (.+)'}}")
    edit(folder, "answer: labels", "answer: number")
    edit(folder, "[accuracy]", "[number]")
    assert {example.reference for example in tasks.load(folder).test} <= {(i + 1) * 1000 for i in range(len(TEXTS))}
    edit(folder, "{column: a, pattern: '#### (.+)'}", "s")
    edit(folder, "answer: number", "answer: text")
    edit(folder, "[number]", "[token-f1]")
    assert tasks.load(folder).test[0].reference[1] == "many"


def test_yaml_words_stay_words(folder: Path) -> None:
    (folder / "rows.csv").write_text(
        csv_of([(text, {"x": "yes", "y": "no", "z": "010"}[label]) for text, label in TEXTS])
    )
    edit(folder, "answer: labels", "answer: {labels: [yes, no, 010]}")
    assert tasks.load(folder).form.labels == ("yes", "no", "010")


def test_environment_in_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(folder, "rows.csv", "${SOME_FOLDER}/rows.csv")
    monkeypatch.delenv("SOME_FOLDER", raising=False)
    (problem,) = problems(folder)
    assert "${SOME_FOLDER}, which is not set" in problem.message
    assert problem.remedy == "type: export SOME_FOLDER=FOLDER"
    assert problem.line == 3
    monkeypatch.setenv("SOME_FOLDER", str(folder))
    assert tasks.load(folder).test
    monkeypatch.delenv("SOME_FOLDER")
    edit(folder, "${SOME_FOLDER}", "${SOME_FOLDER:-" + str(folder) + "}")
    assert tasks.load(folder).test


def test_models_and_rungs_given_by_the_caller(folder: Path) -> None:
    edit(folder, "metrics:", "rungs: [rules, {linear: }, {label: mine, use: zero-shot}]\nmetrics:")
    task = tasks.load(folder, models=["fake:x"], rungs=["mine", "nearest"])
    assert task.models == ("fake:x",)
    assert task.rungs == (RungChoice("zero-shot", {}, "mine"), RungChoice("nearest"))
    with pytest.raises(InputError, match="did you mean nearest"):
        tasks.load(folder, rungs=["nearst"])
    with pytest.raises(InputError, match="provider"):
        tasks.load(folder, models=["opnai:x"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_no_failure(folder: Path) -> None:
    folder.chmod(0o500)
    try:
        assert tasks.load(folder).test
    finally:
        folder.chmod(0o700)


# ---------------------------------------------------------------- mistakes


def change(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder, old, new)


def rows(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "rows.csv").write_text(text)

    return write


def both(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        for step in steps:
            step(folder)

    return run


def jsonl(values: list[Any], answer: str = "labels") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, values)))
        edit(folder, "rows.csv", "rows.jsonl")
        edit(folder, "answer: labels", f"answer: {answer}")
        if answer != "labels":
            edit(folder, "[accuracy]", "[exact]")

    return write


GOOD = [{"text": text, "label": label} for text, label in TEXTS]
SCHEMA = "{json: {type: object, properties: {n: {type: integer}}, required: [n]}}"
MISTAKES: dict[str, tuple[Callable[[Path], None], str, str, int | None, str]] = {
    "yaml syntax": (change("metrics: [", "metrics: [["), "not valid YAML", "task.yaml", 7, "indentation"),
    "yaml tab": (change("columns:", "\tcolumns:"), "not valid YAML", "task.yaml", 4, "indentation"),
    "key twice": (change("data: rows.csv", "data: rows.csv\ndata: rows.csv"), "given twice (first on line 3)", "task.yaml", 4, "keep one"),
    "unknown key": (change("instruction:", "instructions: x\ninstruction:"), "unknown key `instructions`", "task.yaml", 2, "did you mean instruction"),
    "unknown inner key": (change("reference: label", "referense: label"), "unknown key `columns.referense`", "task.yaml", 4, "reference"),
    "missing key": (change("metrics: [accuracy]\n", ""), "`metrics` is missing", "task.yaml", None, "add `metrics:`"),
    "missing file": (change("rows.csv", "row.csv"), "there is no", "task.yaml", 3, "did you mean rows.csv?"),
    "wrong column": (change("input: text", "input: txt"), "no column 'txt' in", "task.yaml", 4, "did you mean text?"),
    "wrong column lists": (change("input: text", "input: body"), "the columns are: text, label", "task.yaml", 4, "name one of them"),
    "no rows": (rows("text,label\n"), "there are no rows", "rows.csv", None, "add rows"),
    "empty split": (rows(csv_of([("one", "x"), ("two", "y")])), "split is empty", "task.yaml", 7, "add rows"),
    "empty split of repeats": (both(change("{near: off}", "{near: 0.5}"), rows(csv_of([(f"where is parcel {n} of mine now", "x" if n < 9 else "y") for n in range(18)]))), "17 of 18 rows repeat another", "task.yaml", 7, "near: off"),
    "one class": (rows(csv_of([(text, "x") for text, _ in TEXTS])), "only one label: 'x'", "task.yaml", 5, "check"),
    "unknown label": (change("answer: labels", "answer: {labels: [x, y]}"), "the label 'z' is not in", "rows.csv", 4, "known: x, y"),
    "unparsable row": (rows(csv_of(TEXTS) + "alone\n"), "got 1 cells, expected 2", "rows.csv", len(TEXTS) + 2, "quote"),
    "huge field": (rows(csv_of([*TEXTS, ("a" * 1_000_001, "x")])), "1,000,001 characters", "rows.csv", len(TEXTS) + 2, "shorten"),
    "empty input": (rows(csv_of([*TEXTS, ("  ", "x")])), "the input is empty", "rows.csv", len(TEXTS) + 2, "fill it"),
    "mixed types": (jsonl([*GOOD, {"text": "a new text", "label": 1}]), "mixes types: str (first in row 1), int", "rows.jsonl", None, "as text"),
    "not text": (jsonl([*GOOD, {"text": ["a"], "label": "x"}]), "is a list, expected text", "rows.jsonl", len(TEXTS) + 1, "lies inside"),
    "id twice": (both(change("reference: label", "reference: label, id: label")), "the id 'x' is there twice", "rows.csv", 5, "distinct"),
    "unknown metric": (change("[accuracy]", "[acuracy]"), "unknown metric 'acuracy'", "task.yaml", 6, "accuracy"),
    "metric that does not fit": (change("[accuracy]", "[field-f1]"), "this task's are labels", "task.yaml", 6, "accuracy"),
    "unknown rung": (change("metrics:", "rungs:\n  - zero-shott\nmetrics:"), "unknown rung 'zero-shott'", "task.yaml", 7, "zero-shot"),
    "unknown provider": (change("metrics:", "models: [opnai:x]\nmetrics:"), "unknown provider 'opnai'", "task.yaml", 6, "openai"),
    "model without provider": (change("metrics:", "models: gpt\nmetrics:"), "expected PROVIDER:NAME", "task.yaml", 6, "known"),
    "same rung twice": (change("metrics:", "rungs: [rules, rules]\nmetrics:"), "2 rungs are called 'rules'", "task.yaml", 6, "label"),
    "budget": (change("metrics:", "budget: {tokens: 0}\nmetrics:"), "`budget.tokens`: got 0", "task.yaml", 6, ""),
    "tolerance": (change("metrics:", "tolerance: -0.1\nmetrics:"), "`tolerance`: got -0.1", "task.yaml", 6, ""),
    "not a number": (change("metrics:", "tolerance: much\nmetrics:"), "got 'much', expected a number", "task.yaml", 6, ""),
    "regex": (change("answer: labels", "answer: {regex: '(a'}"), "regular expression", "task.yaml", 5, ""),
    "rule": (change("metrics:", "rules:\n  x: ['[']\nmetrics:"), "regular expression", "task.yaml", 6, ""),
    "rule for no label": (change("metrics:", "rules:\n  x: a\n  q: b\nmetrics:"), "rules for 'q'", "task.yaml", 8, "known"),
    "schema": (both(change("answer: labels", "answer: {json: {type: objekt}}"), change("[accuracy]", "[field-f1]")), "not a valid JSON schema at type", "task.yaml", 5, "correct"),
    "against schema": (jsonl([*[{"text": t, "label": {"n": i}} for i, (t, _) in enumerate(TEXTS)], {"text": "new", "label": {"n": "x"}}], SCHEMA), "violates the schema at n", "rows.jsonl", len(TEXTS) + 1, "correct"),
    "grammar": (change("answer: labels", "answer: {grammar: 'root ::= x'}"), "Rule 'x' not found", "task.yaml", 5, "correct this grammar"),
    "against grammar": (both(change("answer: labels", "answer: {grammar: 'root ::= [xy]'}"), change("[accuracy]", "[exact]")), "is not of the answer's grammar", "rows.csv", 4, "correct"),
    "against regex": (both(change("answer: labels", "answer: {regex: '[xy]'}"), change("[accuracy]", "[exact]")), "does not match the answer's regex", "rows.csv", 4, "correct"),
    "against number": (both(change("answer: labels", "answer: number"), change("[accuracy]", "[number]")), "'x' is not a number", "rows.csv", 2, "pattern"),
    "shares": (change("{near: off}", "{train: 0.5, dev: 0.1, test: 0.1}"), "add up to 0.7", "task.yaml", 7, ""),
    "form": (change("answer: labels", "answer: lables"), "expected one of: text, number", "task.yaml", 5, ""),
    "passages": (change("metrics:", "passages: docs/\nmetrics:"), "passages: there is no", "task.yaml", 6, "python-stdlib"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_has_file_line_and_remedy(folder: Path, name: str) -> None:
    make, words, file, line, remedy = MISTAKES[name]
    make(folder)
    found = [problem for problem in problems(folder) if problem.level == "error"]
    hit = [problem for problem in found if words in problem.message]
    assert hit, found
    assert Path(hit[0].file).name == file
    assert hit[0].line == line or (line is None and hit[0].line in (None, 1))
    assert remedy in hit[0].remedy
    assert hit[0].remedy
    with pytest.raises(InputError, match="type: rung validate"):
        tasks.load(folder)
    assert not (folder / "demo.splits.json").exists()


def test_everything_is_told_in_one_go(folder: Path) -> None:
    edit(folder, "[accuracy]", "[acuracy]\nbudgett: 3\ntolerance: -1")
    assert len(problems(folder)) == 2  # the shape of the file first
    edit(folder, "\nbudgett: 3\ntolerance: -1", "\nmodels: ['nope:x']\nrungs: [nope]")
    edit(folder, "input: text", "input: txt")
    with (folder / "rows.csv").open("a") as stream:
        stream.write("alone\n")
    found = problems(folder)
    assert {words for words in ("metric", "provider", "rung", "column", "cells") if any(words in item.message for item in found)} == {
        "metric", "provider", "rung", "column", "cells",
    }  # fmt: skip
    with pytest.raises(InputError, match=r"and \d+ more mistakes") as caught:
        tasks.load(folder)
    assert caught.value.file is not None
    assert caught.value.exit_code == 2


WARNINGS: dict[str, tuple[Callable[[Path], None], str]] = {
    "label unseen in train": (both(change("data: rows.csv", "data: {train: rows.csv, dev: more.csv, test: more.csv2}"),), "never seen in train: 'new'"),
    "labels alike": (rows(csv_of([*TEXTS, *[(f"{text} again", "X") for text, _ in TEXTS[:9]]])), "differ in writing only: 'X', 'x'"),
    "label without rows": (change("answer: labels", "answer: {labels: [x, y, z, w]}"), "no row has the label 'w'"),
    "two answers": (rows(csv_of([*TEXTS, (TEXTS[0][0], "y")])), "more than one answer"),
    "free text": (rows(csv_of([(text, f"{i % 45}") for i, (text, _) in enumerate(TEXTS)])), "looks like free text"),
    "template": (both(change("{near: off}", "{near: 0.7}")), "near-duplicates of each other"),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNINGS)
def test_warnings_do_not_stop(folder: Path, name: str) -> None:
    make, words = WARNINGS[name]
    make(folder)
    if name == "label unseen in train":
        edit(folder, "more.csv2", "last.csv")
        (folder / "more.csv").write_text(csv_of([("a", "x"), ("b", "y")]))
        (folder / "last.csv").write_text(csv_of([("c", "new"), ("d", "y")]))
    if name == "template":
        (folder / "rows.csv").write_text(csv_of([(f"Please cancel order number {i} now and send the money back", "xy"[i % 2]) for i in range(60)] + TEXTS))  # fmt: skip
    found = problems(folder)
    assert any(words in problem.message and problem.level == "warning" for problem in found), found
    assert not any(problem.level == "error" for problem in found), found


def test_changed_split_settings_do_not_silently_redraw(folder: Path) -> None:
    tasks.load(folder)
    edit(folder, "{near: off}", "{near: off, seed: 1}")
    with pytest.raises(InputError, match=r"draw anew: rm .*demo.splits.json"):
        tasks.load(folder)
    (folder / "demo.splits.json").write_text("{}")
    with pytest.raises(InputError, match="frozen splits"):
        tasks.load(folder)


def test_names_that_are_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="did you mean support-intent"):
        tasks.load("suport-intent")
    with pytest.raises(InputError, match="no such file"):
        tasks.load("some/where/task.yaml")
    (tmp_path / "here").mkdir()
    with pytest.raises(InputError, match=r"holds no task.yaml"):
        tasks.load("here")


# ---------------------------------------------------------------- packs and starters


@pytest.mark.parametrize("name", sorted(registry.table("pack")))
@pytest.mark.slow
def test_packs_are_good(name: str) -> None:
    examination = tasks.examine(name)
    assert [problem for problem in examination.problems if problem.level == "error"] == []
    assert examination.task is not None
    assert examination.task.name == name
    assert examination.task.licence
    assert examination.findings.straddling == 0


@pytest.mark.parametrize("kind", ["labels", "json", "text"])
def test_starters_are_good_and_never_overwrite(tmp_path: Path, kind: str) -> None:
    path = tasks.init(tmp_path / "my task", kind=kind)
    examination = tasks.examine(path)
    assert examination.problems == ()
    assert examination.task is not None
    assert examination.task.name == "my-task"
    assert sum(examination.findings.rows.values()) >= 48
    assert min(examination.findings.rows.values()) >= 10
    with pytest.raises(InputError, match="nothing was written"):
        tasks.init(tmp_path / "my task", kind=kind)
    shutil.rmtree(tmp_path / "my task")
    (tmp_path / "my task").mkdir()
    assert tasks.init(tmp_path / "my task", kind=kind) == path  # an empty folder is fine


@pytest.mark.parametrize("there", [False, True])
def test_a_starter_that_found_no_room_leaves_nothing(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(source: Path, target: Path) -> None:
        target.write_bytes(b"")
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = tmp_path / "my-task"
    if there:
        folder.mkdir()
    with monkeypatch.context() as full:
        full.setattr(shutil, "copyfile", half)
        with pytest.raises(InputError, match="No space left"):
            tasks.init(folder)
    assert folder.exists() == there
    assert tasks.init(folder).exists()


def test_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean labels"):
        tasks.init(tmp_path / "x", kind="label")
    assert not (tmp_path / "x").exists()


ODD: list[Any] = [
    None,
    -1,
    1.5,
    True,
    "",
    "/nowhere",
    [],
    [None],
    {},
    {"a": [{}]},
    {"file": "."},
    {"labels": []},
    {"json": "x"},
    "a" * 5000,
    "\0",
]


@pytest.mark.parametrize("key", ["", "name", "instruction", "data", "columns", "columns.input", "columns.reference", "answer", "metrics", "split",
                                 "split.near", "limit", "passages", "models", "rungs", "budget", "rules", "reader", "reader.path"])  # fmt: skip
def test_no_value_of_any_key_is_an_exception(folder: Path, key: str) -> None:
    import yaml

    for odd in ODD:
        document: Any = yaml.safe_load(TASK.replace("near: off", "near: 0.8"))
        if key:
            inner = document
            *above, last = key.split(".")
            for part in above:
                inner = inner.setdefault(part, {})
            inner[last] = odd
        else:
            document = odd
        (folder / "task.yaml").write_text(yaml.safe_dump(document))
        examination = tasks.examine(folder / "task.yaml")
        assert (examination.task is None) is any(problem.level == "error" for problem in examination.problems), (
            key,
            odd,
        )


def test_several_columns_are_one_json_text(tmp_path: Path) -> None:
    rows = [{"prompt": f"Write about {noun}.", "ids": ["a"], "kwargs": [{"n": i}]} for i, noun in enumerate(NOUNS)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    text = (
        "name: t\ninstruction: Do it.\ndata: rows.jsonl\nanswer: text\nmetrics: [exact]\n"
        'columns: {input: {prompt: prompt, wanted: "json(ids, kwargs)"}, reference: "json(ids, kwargs)"}\n'
    )
    (tmp_path / "task.yaml").write_text(text)
    task = tasks.load(tmp_path / "task.yaml")
    example = task.train[0]
    assert task.fields == ("prompt", "wanted")
    assert example.reference == example.input["wanted"]
    assert json.loads(example.reference)["ids"] == ["a"]
    (tmp_path / "task.yaml").write_text(text.replace("json(ids", "json(idz"))
    with pytest.raises(InputError, match="no column 'json"):
        tasks.load(tmp_path / "task.yaml")
