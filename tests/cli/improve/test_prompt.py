"""``rung prompt`` as it is typed, and that what is exported is byte for byte what was scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.core.types import Example, RungChoice, Task
from rung.ladder.climb import Climber
from rung.ladder.history import read_results, read_run
from rung.models import Pool
from rung.prompts.template import library
from rung.prompts.template.output import as_openai, as_python
from rung.store import open_store
from tests import desk

BASE = """---
name: base
variables: {text: string}
parts: {format: Answer with one intent.}
---
Say the intent.
"""
KID = """---
name: kid
root: base.md
variables: {shop: {type: string, default: Fjellbua, trusted: true}}
parts: {persona: a clerk of {{ shop }}}
---
""".replace("{persona: a clerk of {{ shop }}}", '{persona: "a clerk of {{ shop }}"}')


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.md").write_text(BASE)
    Path("kid.md").write_text(KID)


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["prompt", *words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def listed() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(run("list", "--json"))}


def task() -> Task:
    rows = tuple(
        Example(str(at), {"text": f"where is parcel {at}\n{{{{ x }}}} </input>"}, "parcel") for at in range(20)
    )
    return desk.task(train=rows[:5], dev=rows[5:10], test=rows[10:], rungs=(RungChoice("template", {"prompt": "kid"}),))


async def climb() -> str:
    settings = Settings()
    with open_store(settings.store_url) as store:
        done = await Climber(task(), store, Pool(settings, default="fake:echo"), settings).climb()
    return done.id


def test_save_list_show_diff_and_rollback() -> None:
    assert "no prompts yet" in run("list")
    assert run("save", "kid.md", "--note", "first").splitlines()[0].startswith("base version 1")
    assert "(unchanged)" in run("save", "kid.md")
    assert {name: row["state"] for name, row in listed().items()} == {"base": "never scored", "kid": "never scored"}
    assert "roots: base" in run("show", "kid")
    shown = run("show", "kid", "--set", "text=a < b", "--style", "xml", "--drop", "format")
    assert "<persona>You are a clerk of Fjellbua.</persona>" in shown
    assert "<input>a &lt; b</input>" in shown
    assert "<format>" not in shown
    Path("base.md").write_text(BASE.replace("Say the intent.", "Say the one intent."))
    run("save", "base.md", "--note", "sharper")
    changed = run("diff", "base", code=1)
    assert "-Say the intent." in changed
    assert "+Say the one intent." in changed
    assert "says what version 1 said" in run("rollback", "base", "1")
    assert "say the same" in run("diff", "base@1", "base@3")
    assert listed()["base"]["version"] == 3
    assert "version 2" in run("show", "base")
    run("save", "base.md", "--name", "other")
    assert listed()["other"]["version"] == 1


async def test_an_edited_root_makes_its_descendants_results_stale() -> None:
    run("save", "kid.md")
    id = await climb()
    row = listed()["kid"]
    assert (row["state"], row["score"]["run"], row["score"]["hash"]) == ("scored", id, row["hash"])
    Path("base.md").write_text(BASE.replace("Say the intent.", "Say the one intent."))
    run("save", "base.md")
    row = listed()["kid"]
    assert (row["state"], row["root_changed"]) == ("stale", True)
    again = await climb()
    assert listed()["kid"]["score"]["run"] == again
    assert listed()["kid"]["state"] == "scored"
    run("rollback", "base", "1")
    assert listed()["kid"]["state"] == "stale"


async def test_what_is_exported_is_byte_for_byte_what_was_scored() -> None:
    run("save", "kid.md")
    await climb()
    settings = Settings()
    with open_store(settings.store_url) as store:
        from rung.ladder.history import read_run

        record = read_run(store, "last")
        results = await read_results(store, record, "template", Pool(settings))
        flat = library.find("kid", store.prompts).flat
    assert len(results) == 10
    scope: dict[str, Any] = {}
    exec(run("export", "kid", "--as", "python"), scope)
    for result in results:
        sent = result.answer.steps[0].messages
        wanted = [{"role": message.role, "content": message.content} for message in sent]
        text = result.example.input["text"]
        assert json.loads(run("export", "kid", "--as", "openai", "--set", f"text={text}")) == wanted
        assert json.loads(as_openai(flat.with_values({"text": text}).render({}))) == wanted
        assert (
            run("export", "kid", "--set", f"text={text}") == "\n\n".join(f"{m.role}:\n{m.content}" for m in sent) + "\n"
        )
        assert scope["messages"](text) == wanted


@pytest.mark.parametrize("style", ["chat", "plain", "brackets", "markdown", "xml"])
def test_the_python_of_every_style_says_the_same(style: str) -> None:
    Path("s.md").write_text(BASE.replace("name: base", f"name: s\nstyle: {style}") + "{% if text %}Now.{% endif %}\n")
    for file in ("s.md", "kid.md"):
        flat = library.find(file).flat
        scope: dict[str, Any] = {}
        exec(as_python(flat), scope)
        for text in ("hi", "[/INPUT]</input>```\nRules:\n- x", "'\"\\{}"):
            rendered = [{"role": message.role, "content": message.content} for message in flat.render({"text": text})]
            assert scope["messages"](text) == rendered


@pytest.mark.parametrize("form", ["rung", "prompty"])
def test_export_to_a_file_that_is_read_again(form: str) -> None:
    suffix = {"rung": "md", "prompty": "prompty"}[form]
    run("export", "kid.md", "--as", form, "-o", f"out.{suffix}")
    before, after = library.find("kid.md").flat, library.find(f"out.{suffix}").flat
    assert after.render({"text": "a\nb"}) == before.render({"text": "a\nb"})


def test_bad_commands_say_what_to_type() -> None:
    for words, said in (
        (["export", "kid.md", "--as", "html"], "unknown format 'html'"),
        (["export", "kid.md"], "variable text has no value"),
        (["export", "kid.md", "--set", "tone=x"], "no variable tone"),
        (["export", "kid.md", "--set", "tone"], "expected NAME=VALUE"),
        (["show", "nope"], "neither a file nor a saved prompt"),
        (["rollback", "nope", "1"], "neither a file nor a saved prompt"),
        (["diff", "kid.md"], "no version before"),
        (["save", "missing.md"], "no such file"),
        (["show", "kid.md", "--drop", "voice"], "no part voice"),
    ):
        with pytest.raises(InputError, match=said):
            run(*words)
    assert listed() == {}


def test_a_template_with_a_mistake_saves_nothing() -> None:
    Path("kid.md").write_text(KID.replace("{{ shop }}", "{{ shp }}"))
    with pytest.raises(InputError, match="'shp' is not declared"):
        run("save", "kid.md")
    assert listed() == {}


def test_lint_exits_with_one_for_an_error() -> None:
    assert "vague-task" in run("lint", "Tell me about planets", code=1)
    assert "score 100" in run("lint", "List the planets in the solar system in order from the sun.")
    document = json.loads(run("lint", "Summarize this.", "--json"))
    assert document["score"] < 100
    assert {"rule", "line", "column", "start", "end", "reason", "rewrite"} <= set(document["findings"][0])


def test_ablate_and_show_of_a_task() -> None:
    said = {"parcel": "where is my parcel with the {} in it", "refund": "please give back the money for the broken {}"}
    rows = [{"text": text.format(word), "intent": label} for label, text in said.items() for word in desk.THINGS[:22]]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("task.yaml").write_text(
        "name: mini\ninstruction: Say the intent.\nconstraints: [Be quick.]\ndata: rows.jsonl\nmodels: ['fake:echo']\n"
        "split: {near: off}\ncolumns: {input: text, reference: intent}\nanswer: {labels: [parcel, refund]}\nmetrics: [accuracy]\n"
    )
    assert "without constraints" in run("ablate", "task.yaml", "--limit", "5", "--shots", "2")
    found = json.loads(run("ablate", "task.yaml", "--limit", "5", "--drop", "constraints", "--json"))
    assert [removal["part"] for removal in found["removals"]] == ["constraints"]
    with pytest.raises(InputError, match="has no persona to leave out"):
        run("ablate", "task.yaml", "--drop", "persona")
    assert "Be quick" not in run("show", "task.yaml", "--drop", "constraints")
    assert "[RULES]\n- Be quick.\n[/RULES]" in run("show", "task.yaml", "--style", "brackets")


def test_a_task_elsewhere_is_climbed_with_its_template_and_with_one_saved_in_another_store(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "own.md").write_text("---\nname: own\nvariables: {text: string}\n---\nSay parcel or refund, kindly.")
    rungs = "[{label: a-file, use: template, prompt: own.md}, {label: saved, use: template, prompt: base}]"
    desk.write(project, rungs=rungs)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    run("save", "base.md", "--store", other)
    words = ["climb", str(project), "-m", "fake:echo", "-q", "--store", other]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with open_store(other) as store:
        record = read_run(store, store.runs.newest()[0].id)
    assert [rung.status for rung in record.rungs] == ["done", "done"]
    # Slots that do not fit the task, and a budget too small for one answer: no program is offered, and the exit code tells.
    (project / "own.md").write_text("---\nname: own\nvariables: {question: string}\n---\nSay {{ question }}.")
    for more, said in (
        (["-r", "a-file"], "wants question"),
        (["-r", "zero-shot", "--tokens", "1"], "the budget of 1 tokens"),
    ):
        refused = CliRunner().invoke(app, [*words, *more], catch_exceptions=False, env={"COLUMNS": "200"})
        assert refused.exit_code == 1, refused.output
        assert said in " ".join(refused.output.split())
        assert "No rung could be measured" in refused.output
        assert "rung export" not in refused.output
    with pytest.raises(InputError, match="'base' is neither a file nor a saved prompt"):
        CliRunner().invoke(app, words[:-2], catch_exceptions=False)
