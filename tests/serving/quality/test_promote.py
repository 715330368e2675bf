"""From a climbed run to a program folder and a served program, through the parity queue."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rung.core.codec import encode
from rung.core.errors import InputError, ParityError
from rung.core.parts import program as programs
from rung.core.settings import Settings
from rung.core.types import RungChoice
from rung.ladder.climb import Climber
from rung.ladder.records import RunRecord
from rung.models import Pool
from rung.models.providers import fake
from rung.serving.endpoints.local import open_folder
from rung.serving.gateway.plan import ServePlan
from rung.serving.http.limits import Limits
from rung.serving.http.process.check import check_served
from rung.serving.http.process.run import make_endpoints
from rung.serving.quality.parity import FILE
from rung.serving.quality.promote import promote
from rung.store import Store
from tests import desk
from tests.serving.loopback import program


@pytest.fixture
async def run(store: Store, settings: Settings) -> RunRecord:
    names = ("linear", "zero-shot", "few-shot-knn", "self-consistency")
    task = desk.task(test=desk.examples(11, 25), rungs=tuple(RungChoice(name) for name in names))
    return await Climber(task, store, Pool(settings, default="fake:echo"), settings, early=False).climb()


async def test_the_recommended_rung_is_taken_and_verified(
    run: RunRecord, store: Store, settings: Settings, tmp_path: Path
) -> None:
    exported, parity = await promote(store, run.id, "", tmp_path / "best", settings)
    assert run.recommendation is not None
    assert exported.rung.title == run.recommendation.rung
    assert exported.verified
    assert parity is not None
    assert (parity.verdict, parity.n, parity.notes) == ("identical", 42, ())
    kept = json.loads((tmp_path / "best" / FILE).read_text())
    assert kept is not None
    assert kept["verdict"] == "identical"
    opened = open_folder(tmp_path / "best", Pool(settings))
    assert opened.verified
    assert opened.fields == ("text",)
    assert programs.fingerprint(opened.program) == exported.rung.program  # the very program that was scored
    assert (await opened.program({"text": "my login fails"})).output == "login"


@pytest.mark.parametrize("title", ["linear", "zero-shot", "few-shot-knn", "self-consistency"])
async def test_every_rung_exports_and_serves_as_it_scored(
    run: RunRecord, store: Store, settings: Settings, tmp_path: Path, title: str
) -> None:
    folder = tmp_path / title
    _, parity = await promote(store, run.id, title, folder, settings)
    assert parity is not None
    assert parity.verdict == "identical"
    pool = Pool(settings)
    opened = [open_folder(folder, pool)]
    endpoints = make_endpoints(opened, ServePlan(), pool)
    (served,) = await check_served(opened, endpoints, settings, pool, Limits(grace=1))
    assert (served.verdict, served.n) == ("identical", 42)


async def test_a_program_that_answers_otherwise_is_not_promoted(
    run: RunRecord, store: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "zero"
    await promote(store, run.id, "zero-shot", folder, settings)
    before = (folder / "program.json").read_bytes()
    weights = fake._weights
    monkeypatch.setattr(fake, "_weights", lambda text, candidates: [-one for one in weights(text, candidates)])
    with pytest.raises(ParityError, match="42 of 42 test items") as caught:
        await promote(store, run.id, "zero-shot", folder, settings)
    assert "\n    login-saw: 'login' became 'parcel' (score 1, now 0)\n" in caught.value.message
    assert "--no-parity" in caught.value.remedy
    assert (folder / "program.json").read_bytes() == before  # what was there is still there, whole
    with pytest.raises(ParityError):
        await promote(store, run.id, "zero-shot", tmp_path / "new", settings)
    assert sorted(path.name for path in tmp_path.iterdir() if "zero" in path.name or "new" in path.name) == ["zero"]
    pool = Pool(settings)
    opened = [open_folder(folder, pool)]
    with pytest.raises(ParityError, match="over HTTP"):
        await check_served(opened, make_endpoints(opened, ServePlan(), pool), settings, pool, Limits(grace=1))


async def test_an_edited_program_is_not_what_was_verified(
    run: RunRecord, store: Store, settings: Settings, tmp_path: Path
) -> None:
    await promote(store, run.id, "zero-shot", tmp_path / "p", settings)
    document = json.loads((tmp_path / "p" / "program.json").read_text())
    document["spec"]["prompt"]["instruction"] = "Say the opposite."
    (tmp_path / "p" / "program.json").write_text(json.dumps(document))
    opened = open_folder(tmp_path / "p", Pool(settings))
    assert (opened.intact, opened.verified) == (False, False)


async def test_without_the_check_it_is_marked_unverified(
    run: RunRecord, store: Store, settings: Settings, tmp_path: Path
) -> None:
    exported, parity = await promote(store, run.id, "linear", tmp_path / "p", settings, None)
    assert (exported.verified, parity) == (False, None)
    assert open_folder(tmp_path / "p", Pool(settings)).verified is False
    assert not (tmp_path / "p" / "parity.json").exists()


async def test_what_cannot_be_exported(run: RunRecord, store: Store, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its rungs: linear"):
        await promote(store, run.id, "no-such-rung", tmp_path / "p", settings)
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious.txt").write_text("x")
    with pytest.raises(InputError, match="not a program folder"):
        await promote(store, run.id, "linear", other, settings)
    assert (other / "precious.txt").exists()
    record = run.rung("linear")
    assert record is not None
    with pytest.raises(InputError, match="keeps its own program"):
        await promote(store, run.id, "linear", Path(record.folder), settings)
    (Path(record.folder) / "linear.npz").write_bytes(b"damaged")
    with pytest.raises(InputError, match="missing or damaged"):
        await promote(store, run.id, "linear", tmp_path / "p", settings)
    shutil.rmtree(record.folder)
    with pytest.raises(InputError, match="not at"):
        await promote(store, run.id, "linear", tmp_path / "p", settings)
    nothing = replace(run, recommendation=None)
    store.runs.update(run.id, summary=json.dumps(encode(nothing)))
    with pytest.raises(InputError, match="recommends no rung"):
        await promote(store, run.id, "", tmp_path / "p", settings)
    assert not (tmp_path / "p").exists()


async def test_a_served_program_without_its_run_has_nothing_to_compare_with(
    settings: Settings, tmp_path: Path, store: Store
) -> None:
    programs.save(program(Pool(settings).model("fake:echo")), tmp_path / "p")
    pool = Pool(settings)
    opened = [open_folder(tmp_path / "p", pool)]
    with pytest.raises(InputError, match="rung export"):
        await check_served(opened, make_endpoints(opened, ServePlan(), pool), settings, pool, Limits(grace=1))
