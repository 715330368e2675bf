"""The contract of a study, over every one: declared options, records that are stored and shown again, a verb, and no second asking."""

from __future__ import annotations

import gzip
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.cli.task.study import verb
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.core.types import RungChoice, Task
from rung.ladder.climb import Climber
from rung.models import Pool
from rung.store import Store, StoredRating
from rung.studies.agents.attacks import Attacks
from rung.studies.agents.calls import Calls
from rung.studies.agents.oracle import Oracle
from rung.studies.agents.teams import Teams
from rung.studies.agents.window import Windows
from rung.studies.lab import LABS
from rung.studies.lab.generative.diffusion import DiffuseDigits
from rung.studies.lab.generative.gan import AdversarialDigits
from rung.studies.lab.generative.melody import MakeMelodies
from rung.studies.lab.generative.pixels import CompareMakers
from rung.studies.lab.language.gates import Gates
from rung.studies.lab.language.gradients import GradientCheck
from rung.studies.lab.language.ladder import LanguageLadder
from rung.studies.lab.language.toys import Ablations, CopyTest
from rung.studies.lab.language.translation import Seq2Seq
from rung.studies.lab.network.parts import PartsOfNetwork
from rung.studies.lab.network.series import ForecastSeries
from rung.studies.lab.network.vision import SeePictures
from rung.studies.lab.words.vectors import WordVectors
from rung.studies.models.agreement import JudgeAgainstPeople
from rung.studies.models.cases import Evaluate
from rung.studies.models.forgetting import Forgetting
from rung.studies.models.sizes import Sizes
from rung.studies.runs.errors import ErrorAnalysis
from rung.studies.runs.rating import Rating
from rung.studies.runs.stress import Stress
from rung.studies.study import STUDIES, Lab, Study, corrected, load, read
from rung.studies.tasks.ablation import Ablate
from rung.studies.tasks.factorial import RunFactorial
from rung.studies.tasks.learning import LearningCurve
from rung.studies.tasks.optimize import Optimize
from rung.studies.tasks.shots import Shots
from rung.studies.tasks.swap import SwapTest
from rung.studies.tasks.sweep import Sweep
from tests import desk
from tests.studies.lab.generative.test_generative import short as short
from tests.studies.lab.test_experiment import story


def meetings(folder: Path) -> Path:
    """One meeting with questions, in the form of QMSum's files."""
    turns = [
        {"speaker": "A", "content": f"Turn {at} is about {word} and nothing else."}
        for at, word in enumerate(("tents", "lamps", "kettles"))
    ]
    asked = [
        {"query": f"What of {word}?", "relevant_text_span": [[str(at), str(at)]]}
        for at, word in enumerate(("tents", "lamps"))
    ]
    meeting = {"meeting_transcripts": turns, "specific_query_list": asked}
    (folder / "val.jsonl.gz").write_bytes(gzip.compress(json.dumps(meeting).encode()))
    return folder


def leaderboard(folder: Path) -> Path:
    """Two items of each part, in the form of the leaderboard's files."""
    functions = [
        {"name": name, "description": about, "parameters": {"type": "dict", "properties": {"n": {"type": "integer"}}}}
        for name, about in (("count.words", "Count words."), ("draw.lines", "Draw lines."))
    ]
    (folder / "possible_answer").mkdir(exist_ok=True)
    for part, offered in (("simple_python", functions[:1]), ("multiple", functions)):
        asked = [{"role": "user", "content": "Count 3 words"}]
        rows = [{"id": f"{part}_{at}", "question": [asked], "function": offered} for at in range(2)]
        truths = [{"id": row["id"], "ground_truth": [{"count.words": {"n": [3]}}]} for row in rows]
        for path, lines in ((folder, rows), (folder / "possible_answer", truths)):
            (path / f"BFCL_v4_{part}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def made(name: str, folder: Path) -> Study[Any, Any]:
    """Each study with options that make it small."""
    (folder / "cases.csv").write_text("prompt,reference\nSay north.,Say north.\nSay south.,up\n")
    pairs = [{"input": f"q{n}", "output_1": "a longer one", "output_2": "short", "label": 1 + n % 2} for n in range(6)]
    (folder / "judged.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (folder / "text.txt").write_text(story(3000))
    text = (str(folder / "text.txt"),)
    (folder / "words.txt").write_text(" ".join(f"{a}{b}{c}" for a in "kmpt" for b in "aeiou" for c in "lnr"))
    for side, word in (("one", "lamp"), ("two", "lampe")):
        (folder / f"{side}.txt").write_text("".join(f"the {word} {at % 7} of {at}\n" for at in range(40)))
    (folder / "wave.txt").write_text("".join(f"{9 + at % 12 - (at % 7) / 3}\n" for at in range(200)))
    tunes = (f"tune {at}: {' '.join('CDEFGAB'[(at + k) % 7] + '2' for k in range(9))}\n" for at in range(8))
    (folder / "tunes.txt").write_text("".join(tunes))
    small: dict[str, Study[Any, Any]] = {
        "network": PartsOfNetwork(epochs=1, hidden=8),
        "vision": SeePictures(epochs=1, drawn=10, passes=3, size=16),
        "series": ForecastSeries(str(folder / "wave.txt"), horizon=2, season=12, epochs=2),
        "gan": AdversarialDigits(steps=20, few=20, draws=1, failing=1e30),
        "diffusion": DiffuseDigits(steps=100),
        "pixels": CompareMakers(steps=20, symbols=10),
        "melody": MakeMelodies(str(folder / "tunes.txt"), make=1, folds=2, epochs=1, units=4),
        "lm": LanguageLadder(("markov", "gru"), text=text, sample=8, width=8, steps=2),
        "words": WordVectors(("random", "cbow"), text=text, dimensions=8, epochs=1),
        "seq2seq": Seq2Seq(
            (folder / "one.txt",), (folder / "two.txt",), text=(str(folder / "words.txt"),), steps=2, held=10
        ),
        "copy": CopyTest(("lstm",), width=8, steps=2, count=10),
        "heads": Ablations(steps=1, count=10),
        "gates": Gates("a lamp", "gru", text=text, width=4, steps=2),
        "gd": GradientCheck(steps=10),
        "ablation": Ablate(shots=2, limit=4),
        "factorial": RunFactorial("few-shot=2", limit=4),
        "few-shot": Shots("0,2", limit=4),
        "sweep": Sweep(("temperature=0,1",), repeat=2, limit=3),
        "curve": LearningCurve("rules", "6,12,24", limit=9),
        "optimize": Optimize(calls=120, dev=9, out=folder / "out"),
        "swap": SwapTest(("{name} lost a parcel.", "{name} wants a refund."), favourable="refund"),
        "errors": ErrorAnalysis("zero-shot"),
        "stress": Stress("zero-shot", kind=("typos", "empty"), limit=4),
        "rating": Rating(("rules", "zero-shot")),
        "eval": Evaluate(folder / "cases.csv", model=("fake:echo", "fake:slow"), metric=("exact",)),
        "agreement": JudgeAgainstPeople(folder / "judged.jsonl"),
        "calls": Calls(f"bfcl:{leaderboard(folder)}", limit=3, against="fake:slow"),
        "window": Windows(f"qmsum:{meetings(folder)}", "20", limit=3),
        "attacks": Attacks(limit=1, benign=4),
        "oracle": Oracle("gridworld", limit=2, steps=3),
        "teams": Teams(members=3, shots=1, limit=4, weigh=3, split="dev"),
        "sizes": Sizes(("fake:echo", "fake:slow"), "support-intent", limit=4),
        "forgetting": Forgetting("fake:echo", "fake:slow", ("support-intent",), limit=4),
    }
    return small[name]


async def subject(study: Study[Any, Any], task: Task, lab: Lab) -> Any:
    if study.subject == "task":
        return task
    if study.subject == "none":
        return None
    climbed = desk.task(rungs=(RungChoice("rules"), RungChoice("zero-shot")))
    run = await Climber(climbed, lab.store, lab.resources, lab.settings).climb()
    for example in climbed.test[:4]:
        lab.store.ratings.put(StoredRating(run.id, "Ada", example.id, "rules", "zero-shot", "rules", "left"))
    return run


def models(pool: Pool) -> int:
    """Calls that the fake models have answered."""
    asked: list[int] = [len(pool.model(name).inner.calls) for name in ("fake:echo", "fake:slow")]  # type: ignore[attr-defined]
    return sum(asked)


OF_A_MODEL = ("attention", "trace-forward", "sampling")
"""Experiments with the embedded model: see tests/studies/lab."""


@pytest.mark.parametrize("name", [name for name in STUDIES if name not in OF_A_MODEL])
async def test_every_study_keeps_the_contract(name: str, task: Task, lab: Lab, pool: Pool, tmp_path: Path) -> None:
    study = made(name, tmp_path)
    about = await subject(study, desk.task(metrics=("accuracy",)), lab)
    assert load(name) is type(study)
    assert study.name == name
    assert type(study).__doc__
    assert all(item.metadata.get("help") for item in fields(study)), "every option is declared for people"
    verb(name)
    found = await study.run(about, lab)
    shown = study.table(found)
    assert shown
    assert "None" not in shown
    stored = lab.store.studies.find("last")
    again, records = read(stored)
    assert (again, records, stored.name) == (study, found, name)
    assert again.table(records) == shown
    if name != "eval":  # of one model only, as its verb says
        json.loads(study.json(found))
    asked = models(pool)
    if name in LABS:  # no model is asked, and it would take as long again
        assert asked == 0
        return
    repeated = await study.run(about, lab)
    assert study.table(repeated) == shown or name in ("curve", "oracle")  # what it took is a time
    if name != "eval":  # opens models of its own
        assert models(pool) == asked, "a second time everything comes from the journal"
    assert [row.name for row in lab.store.studies.newest(2)] == [name, name]


def test_what_is_no_study(store: Store) -> None:
    with pytest.raises(InputError, match="no study 'x'"):
        load("x")
    for id in ("1", "last", "x", "9" * 30, ""):
        with pytest.raises(InputError, match="no study"):
            store.studies.find(id)
    assert corrected([]) == []


def test_studies_are_listed_and_shown_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_STORE", settings.store_url)
    run = CliRunner()
    assert "no study has been made yet" in run.invoke(app, ["studies"]).output
    words = ["sweep", "support-intent", "temperature=0,1", "--repeat", "2", "--limit", "3", "-m", "fake:echo"]
    first = run.invoke(app, words, catch_exceptions=False)
    assert "3 examples, 2 repeats each" in first.stdout
    listed = run.invoke(app, ["studies"]).stdout.splitlines()
    assert listed[1].split()[:3] == ["1", "sweep", "support-intent"]
    assert run.invoke(app, ["studies", "1"]).stdout == first.stdout
    assert json.loads(run.invoke(app, ["studies", "last", "--json"]).stdout)["repeats"] == 2
    assert json.loads(run.invoke(app, ["studies", "--json"]).stdout)[0]["study"] == "sweep"
    assert isinstance(run.invoke(app, ["studies", "7"]).exception, InputError)


@pytest.mark.slow
def test_verbs_on_a_climb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    climbed = run.invoke(
        app, ["climb", "support-intent", "--rung", "rules", "--rung", "linear", "--limit", "60", "-m", "fake:echo"]
    )
    assert climbed.exit_code == 0, climbed.output
    said = run.invoke(app, ["errors", "last", "linear"])
    assert said.exit_code == 0, said.output
    assert "of 60 items below 1" in said.output
    kept = run.invoke(app, ["errors", "last", "linear", "--slice", "1", "--to", "slice.jsonl"])
    assert kept.exit_code == 0, kept.output
    rows = [json.loads(line) for line in (tmp_path / "slice.jsonl").read_text().splitlines()]
    assert rows
    assert set(rows[0]) == {"id", "text", "reference"}
    shaken = run.invoke(app, ["stress", "last", "linear", "--limit", "30", "--kind", "typos", "--kind", "empty"])
    assert shaken.exit_code == 0, shaken.output
    assert "typos" in shaken.output
    assert [line.split(":")[0] for line in shaken.stderr.splitlines()] == ["1/2 typos", "2/2 empty"]
    curve = run.invoke(
        app, ["curve", "support-intent", "linear", "--sizes", "40,80,160", "--limit", "60", "-m", "fake:echo"]
    )
    assert curve.exit_code == 0, curve.output
    assert "expected by a power law" in curve.output
    told = [line.split(" accuracy")[0] for line in curve.stderr.splitlines()]
    assert told == ["1/3 n=40", "2/3 n=80", "3/3 n=160"]  # not what each fit tells
    wrong = run.invoke(app, ["curve", "support-intent", "linear", "--sizes", "4000"])
    assert isinstance(wrong.exception, InputError)
