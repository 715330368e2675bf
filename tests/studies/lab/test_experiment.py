"""What all experiments share: their texts, their pages, their verbs."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError
from rung.studies.lab import LABS
from rung.studies.lab.corpus import corpus, docstrings, text
from rung.studies.lab.experiment import Experiment, explained
from rung.studies.lab.language.ladder import LanguageLadder
from rung.studies.study import load

PAGES = Path(__file__).parents[3] / "docs" / "foundations"


def story(n: int) -> str:
    """A text of ``n`` sentences that says several things."""
    words = ("the", "old", "lamp", "kettle", "burns", "sings", "slowly", "tonight")
    return " ".join(f"{words[at % 7]} {words[at * 5 % 8]} {words[at // 3 % 8]}." for at in range(n))


def test_a_text_without_spaces_has_words(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("吾輩は猫である名前はまだ無い" * 400)
    assert corpus([str(tmp_path / "text.txt")], most=20_000, pieces=10).scored > 0


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("12 34. " * 3, "short-text"),
        ("word " * 9000, "one-word"),
        ("語" * 9000, "one-word"),
        (".,;- " * 9000, "no-letters"),
        ("short", "short-text"),
    ],
)
def test_a_text_that_teaches_nothing(said: str, code: str, tmp_path: Path) -> None:
    place = tmp_path / "text.txt"
    place.write_text(said)
    with pytest.raises(InputError) as caught:
        corpus([str(place)], most=10**6, pieces=50)
    assert caught.value.code == code


def test_the_end_is_held_out(tmp_path: Path) -> None:
    said = story(3000)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(said.encode()))
    found = corpus([str(tmp_path / "a.txt.gz")], most=20_000, pieces=50)
    assert bytes(found.train) + found.held.tobytes() == said.encode()[:20_000]
    assert found.held.shape == (15, 128)
    assert found.scored == 15 * 64
    with pytest.raises(InputError):
        text([str(tmp_path / "nothing")])


def test_every_python_brings_a_text() -> None:
    said = docstrings("python")
    assert len(said) > 500_000
    assert "\x00" not in said


@pytest.mark.parametrize("name", list(LABS))
def test_an_experiment_says_what_it_teaches(name: str) -> None:
    kind = load(name)
    assert issubclass(kind, Experiment)
    assert kind.ideas
    head = explained(kind)
    page = PAGES / f"{name}.md"
    if page.exists():
        assert page.read_text(encoding="utf-8").startswith(head), f"make it again: rung lab page {name} {page}"


def test_a_command_has_what_is_not_the_default() -> None:
    assert LanguageLadder().command() == "rung lab lm"
    assert (
        LanguageLadder(("rnn",), text=("a b.txt",), order=2).command() == "rung lab lm rnn --text 'a b.txt' --order 2"
    )


def test_a_page_is_made_of_the_newest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text(story(3000))
    run = CliRunner()
    missing = run.invoke(app, ["lab", "page", "lm", "lm.md"])
    assert isinstance(missing.exception, InputError)
    made = run.invoke(app, ["lab", "lm", "markov", "--text", "t.txt"], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    assert run.invoke(app, ["lab", "page", "lm", "lm.md"]).exit_code == 0
    written = Path("lm.md").read_text()
    assert written.startswith(explained(LanguageLadder))
    assert "$ rung lab lm markov --text t.txt" in written
    assert "markov-3" in written
