"""The catalogue as it is typed: what is listed runs, what it says has a source, and the page is made from it."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.protocols import Context, Program, Resources, Traits
from rung.core.settings import Settings
from rung.core.types import Example as Item
from rung.core.types import ResponseFormat, RungChoice, Task
from rung.ladder.climb import Climber
from rung.ladder.view import catalog
from rung.models import Pool, hub
from rung.store import open_store

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    registry.table.cache_clear()
    catalog.entries.cache_clear()


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["catalog", *words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_the_page_is_what_the_catalogue_makes() -> None:
    made = catalog.page()
    assert (ROOT / "docs" / "catalog.md").read_text(encoding="utf-8") == made, "type: rung catalog page docs/catalog.md"
    run("page", "out.md")
    assert Path("out.md").read_text(encoding="utf-8") == made
    with pytest.raises(InputError, match="cannot write it"):
        run("page", "no/such/folder.md")


def test_the_list_has_every_technique_in_the_order_of_the_sections() -> None:
    lines = run().splitlines()
    assert run("list").splitlines() == lines
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert names == [entry.name for entry in catalog.entries()]
    headings = [line for line in lines if line in catalog.SECTIONS]
    assert headings == [section for section in catalog.SECTIONS if section in headings]
    assert {"foundations", "prompt engineering", "fine-tuning", "deployment"} <= set(headings)


def test_records_are_whole() -> None:
    known = {field.name for field in dataclasses.fields(catalog.Technique)}
    inner = {field.name for field in dataclasses.fields(catalog.Snippet)}
    for room in files("rung").iterdir():
        page = room / "catalog.yaml"
        for record in yaml.safe_load(page.read_text(encoding="utf-8")) if page.is_file() else ():
            assert set(record) <= known, record["name"]
            assert set(record.get("example", {})) <= inner, record["name"]
            commands = [*record.get("use", ()), *record.get("example", {}).get("commands", ())]
            assert all(isinstance(command, str) and command.startswith("rung ") for command in commands), record["name"]
            assert record["section"] in catalog.SECTIONS[:-1]
            assert record["what"]
    names = [entry.name for entry in catalog.entries()]
    assert len(set(names)) == len(names)


def test_every_rung_of_ours_is_in_one_entry_and_every_rung_there_exists() -> None:
    listed = [rung for entry in catalog.entries() for rung in entry.rungs]
    assert sorted(listed) == sorted(registry.table("rung"))
    loose = [entry.name for entry in catalog.entries() if entry.section == catalog.SECTIONS[-1]]
    assert not loose, f"write a record for {', '.join(loose)} in the catalog.yaml of its room"


def results() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "results").glob("*.md")))


def test_headings_that_are_named_stand_in_the_results() -> None:
    headings = re.findall(r"^#+ (.*)$", results(), re.MULTILINE)
    for entry in catalog.entries():
        assert set(entry.results) <= set(headings), entry.name


def test_published_figures_are_those_of_the_results_page() -> None:
    page = results()
    for record in catalog.published():
        assert record.task_path == ""
        for rung in record.rungs:
            if rung.scored:
                value = rung.metrics[record.metrics[0]]
                wanted = (
                    rf"^\| \**{re.escape(rung.title)}\** \| {value.value:.3f} \[{value.low:.2f}, {value.high:.2f}\]"
                )
                section = re.search(rf"^### {re.escape(record.task)}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
                assert section, record.task
                assert re.search(wanted, section[1], re.MULTILINE), f"{record.task}: {rung.title}"


EXAMPLES = [entry for entry in catalog.entries() if entry.example is not None]


@pytest.mark.parametrize("entry", EXAMPLES, ids=lambda entry: entry.name)
def test_examples_run_and_leave_nothing(entry: catalog.Technique, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_HOME", "mine")
    before = {name: value for name, value in os.environ.items() if name.startswith("RUNG_")}
    result = CliRunner().invoke(app, ["catalog", "show", entry.name, "-m", "fake:echo"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert entry.example is not None
    # What the echo says does not always fit, which is an answer too; a wrong command is not.
    assert result.exit_code in (0, 1), result.output
    assert result.output.count("\n$ rung ") >= 1
    assert "Usage:" not in result.output
    assert {name: value for name, value in os.environ.items() if name.startswith("RUNG_")} == before
    assert list(Path().iterdir()) == []


def test_a_technique_is_shown_with_what_was_measured_and_where() -> None:
    shown = run("show", "few-shot-knn", "--no-run")
    assert shown == run("show", "Few-shot examples", "--no-run")
    flat = " ".join(shown.split())
    assert "Few-shot examples (few-shot; prompt engineering)" in flat
    assert "Measured by the project (docs/results)" in flat
    knn = next(
        m for m in catalog.measured(catalog.find("few-shot"), catalog.published()) if m.rung.name == "few-shot-knn"
    )
    assert knn.sentence() in flat
    assert "in your store" not in flat
    assert "Example, not run:\n  rung pattern combine support-intent" in shown
    assert list(Path().iterdir()) == []  # a look makes no store


async def test_the_latest_run_of_the_users_store_is_shown() -> None:
    settings = Settings()
    rows = tuple(
        Item(str(at), {"text": f"say {'yes' if at % 2 else 'no'} {at}"}, "yes" if at % 2 else "no") for at in range(40)
    )
    task = Task(
        name="mine", instruction="Say.", form=ResponseFormat("labels", labels=("yes", "no")), fields=("text",),
        train=rows[:10], dev=rows[10:20], test=rows[20:], metrics=("accuracy",), hash="h", models=("fake:echo",),
        rungs=(RungChoice("zero-shot"), RungChoice("few-shot-knn", {"ks": [1]})),
    )  # fmt: skip
    with open_store(settings.store_url) as store:
        for names in (("zero-shot", "few-shot-knn"), ("zero-shot",)):
            chosen = tuple(choice for choice in task.rungs if choice.name in names)
            last = await Climber(
                dataclasses.replace(task, rungs=chosen), store, Pool(settings, default="fake:echo"), settings
            ).climb()
        first = store.runs.newest()[1].id
    flat = " ".join(run("show", "few-shot", "--no-run").split())
    assert "few-shot-knn: accuracy 1.000 [0.84, 1.00] on 20 items of mine" in flat
    assert f"(run {first}, " in flat
    assert f"(run {last.id}, " in " ".join(run("show", "prompt-parts", "--no-run").split())


def test_without_weights_the_example_is_printed_and_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "present", lambda name, cache: False)
    shown = run("show", "few-shot")
    assert "Example, not run:" in shown
    assert "The weights of smollm2-135m are not on this machine. Type: rung models pull smollm2-135m" in shown
    assert "$ rung" not in shown
    assert "$ rung prompt lint" in run("show", "lint")  # needs no model


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="no 'fewshto'") as caught:
        run("show", "fewshto")
    assert "few-shot" in caught.value.remedy
    with pytest.raises(InputError) as caught:
        run("show", "zzzz")
    assert "rung catalog" in caught.value.remedy


def test_a_rung_of_another_package_is_listed_with_its_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.TABLES["rung"], "theirs", f"{__name__}:Theirs")
    registry.table.cache_clear()
    catalog.entries.cache_clear()
    assert "other packages\n  theirs" in run()
    assert "Always says the same." in run("show", "theirs")


@dataclasses.dataclass(frozen=True)
class Theirs:
    """Always says the same."""

    traits: ClassVar[Traits] = Traits()

    def obstacle(self, task: Task, resources: Resources) -> str:
        return ""

    async def fit(self, task: Task, context: Context) -> Program:
        raise NotImplementedError


@pytest.mark.model
@pytest.mark.slow
def test_an_example_runs_on_the_embedded_model() -> None:
    shown = run("show", "persona")
    assert "$ rung pattern combine support-intent --parts persona" in shown
    assert shown.rstrip().splitlines()[-1] in ("where_is_order", *catalog_labels())


def catalog_labels() -> tuple[str, ...]:
    from rung import tasks

    return tasks.load("support-intent").form.labels
