"""What a training did elsewhere: which sets and weights are compared, what is kept, said and given to programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from rung import tasks
from rung.cli.improve.align import elsewhere
from rung.cli.improve.align.elsewhere import (
    SETS,
    WrittenWeights,
    check_places,
    compare_elsewhere,
    load_elsewhere,
    record_elsewhere,
    tell_elsewhere,
)
from rung.cli.improve.tune import Line
from rung.core.errors import InputError
from tests.command import rung

LINE = Line(Console(quiet=True))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(out: Path, monkeypatch: pytest.MonkeyPatch, after: str, *named: str) -> WrittenWeights:
    """Weights before and after that the fake model stands for."""
    monkeypatch.setattr(WrittenWeights, "pair", ("fake:echo", after))
    return WrittenWeights(out, "smollm2-135m", {"f16": "somewhere"}, named=named)


def test_what_was_learnt_from_is_left_out() -> None:
    assert WrittenWeights(Path(), "m", {}).places == SETS
    assert "support-intent" not in WrittenWeights(Path(), "m", {}, task="support-intent").places
    by_file = WrittenWeights(Path(), "m", {}, task=str(tasks.locate("plain-requests")))
    assert by_file.places == ("support-intent", "python-stdlib")
    assert WrittenWeights(Path(), "m", {}, named=("mine.txt",)).places == ("mine.txt",)


def test_a_set_that_needs_what_is_not_installed_is_left_out_and_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "find_spec", lambda name: None)
    monkeypatch.setattr(elsewhere, "SETS", ("plain-requests", "support-intent"))
    done = compare_elsewhere(written(folder, monkeypatch, "fake:slow"), 4, LINE)
    assert done is not None
    assert [row.name for row in done.rows] == ["support-intent"]
    assert "plain-requests is left out" in tell_elsewhere(done)


def test_the_comparison_is_kept_said_and_given_to_programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = compare_elsewhere(written(folder, monkeypatch, "fake:slow", "support-intent"), 12, LINE)
    assert done is not None
    assert [row.difference.n for row in done.rows] == [12]
    assert load_elsewhere(folder) == done
    said = tell_elsewhere(done)
    assert "no difference" in said
    assert "--elsewhere N" in said
    (row,) = record_elsewhere(done)["elsewhere"]["rows"]
    assert (row["word"], row["difference"]["n"]) == ("no difference", 12)


def test_few_items_where_transformers_must_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = WrittenWeights(folder, "smollm2-135m", {"adapter": "somewhere"})
    for before, items in (("transformers:x", elsewhere.FEW), ("openvino:x", elsewhere.ITEMS)):
        monkeypatch.setattr(WrittenWeights, "pair", (before, "fake:slow"))
        monkeypatch.setattr(elsewhere, "_conduct", lambda study, line, stop: [])
        done = compare_elsewhere(weights, None, LINE)
        assert done is not None
        assert done.items == items


def test_a_set_that_is_not_there_is_told_before_anything_is_learnt(folder: Path) -> None:
    (folder / "mine.txt").write_text("text")
    check_places(["mine.txt", "support-intent", "python-stdlib"])
    for place in ("none.txt", "no-such-pack", "rows.jsonl"):
        with pytest.raises(InputError):
            check_places([place])
    (folder / "align.yaml").write_text("method: rloo\nenvironment: gridworld\ngeneral: none.txt\nout: out\n")
    done = rung("align", "align.yaml", folder=folder)
    assert (done.returncode, done.stderr.split("\n")[0]) == (2, "rung: general: there is no none.txt")
    assert not (folder / "out").exists()


def test_nothing_is_compared_unasked_or_where_there_is_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = written(folder, monkeypatch, "fake:slow")
    assert compare_elsewhere(trained, 0, LINE) is None
    assert compare_elsewhere(WrittenWeights(folder, "m", {}), None, LINE) is None
    assert load_elsewhere(folder) is None
    assert tell_elsewhere(None) == ""
    assert record_elsewhere(None) == {}


def test_what_cannot_be_compared_is_said_and_no_end_of_it_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = compare_elsewhere(written(folder, monkeypatch, "fake:down", "support-intent"), 4, LINE)
    assert done is not None
    assert done.rows == ()
    assert "not measured: " in tell_elsewhere(done)
    assert load_elsewhere(folder) == done


def test_weights_are_compared_in_the_engine_that_reads_both(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from tests.models.adapters.test_compose import lora, modules
    from tests.tuning.conftest import write_gguf

    base = str(write_gguf(tmp_path / "base.gguf"))

    def pair(**files: str) -> tuple[str, str]:
        return WrittenWeights(tmp_path, base, files).pair

    plain, other = str(lora(tmp_path / "lora", seed=1)), str(modules(tmp_path / "modules", seed=2))
    assert pair(adapter=plain, f16="tuned.gguf") == (f"openvino:{base}", f"openvino:{base}@{plain}")
    assert pair(adapter=other) == (f"transformers:{base}", f"transformers:{other}")
    assert pair(q8="tuned.gguf", folder="merged") == (f"openvino:{base}", "openvino:tuned.gguf")
    with pytest.raises(InputError, match="no weights were written"):
        pair()


def test_a_table_of_states_has_no_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    (tmp_path / "grid.yaml").write_text(
        "method: rloo\nenvironment: {name: gridworld, size: 3, map: 1}\nsteps: 2\nprompts: 2\nreplies: 2\nheld: 4\nout: grid\n"
    )
    done = rung("align", "grid.yaml", "-q", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Elsewhere" not in done.stdout
    assert not (tmp_path / "grid" / elsewhere.FILE).exists()

    # The table of finished runs has it again where it was measured, as text and as JSON.
    compare_elsewhere(written(tmp_path / "grid", monkeypatch, "fake:slow", "support-intent"), 4, LINE)
    assert "Elsewhere, rloo: " in rung("align", "--table", "grid", folder=tmp_path).stdout
    (row,) = json.loads(rung("align", "--table", "grid", "--json", folder=tmp_path).stdout)
    assert row["method"] == "rloo"
    assert row["elsewhere"]["rows"][0]["name"] == "support-intent"
