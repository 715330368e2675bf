"""LoRA beside the base in the embedded engine: the same answers as merged weights, whichever adapters share a batch."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rung.core.errors import InputError, Unsupported
from rung.core.settings import Settings
from rung.core.types import Message, Request, Sampling
from rung.models.adapters import lora
from rung.models.engine.openvino.model import open_model
from rung.tuning.compute import export
from rung.tuning.compute.session import open_session
from rung.tuning.weights import Base
from tests.tuning.conftest import RECIPE

pytest.importorskip("openvino_genai")

ASKED = (Message("system", "Name the colour."), Message("user", "the sky at night, far from the town"))
REQUEST = Request(ASKED, Sampling(max_tokens=6, logprobs=True))


@pytest.fixture(scope="module")
def made(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two adapters of unlike rank and targets, and each merged into a GGUF."""
    folder = tmp_path_factory.mktemp("beside")
    for number, change in ((1, {"rank": 4}), (2, {"rank": 2, "targets": ("q_proj", "v_proj"), "rslora": True})):
        recipe = replace(RECIPE, **change)
        session = open_session(tiny, recipe)
        session.set(torch.randn(session.vector.shape, generator=torch.Generator().manual_seed(number)) * 0.4)
        export.save_adapter(session, recipe, folder / f"a{number}")
        export.save_gguf(export.merge(session), tiny, folder / f"m{number}.gguf", "f16")
    return folder


async def test_answers_are_those_of_merged_weights(tiny: Base, made: Path, tmp_path: Path) -> None:
    settings = Settings({"cache": str(tmp_path)})
    names = {"base": str(tiny.gguf), **{f"m{n}": str(made / f"m{n}.gguf") for n in (1, 2)}}
    names |= {f"a{n}": f"{tiny.gguf}@{made / f'a{n}'}" for n in (1, 2)}
    models = {key: open_model(name, settings) for key, name in names.items()}
    alone = {key: (await model.generate([REQUEST]))[0] for key, model in models.items()}
    texts = {alone[key].text for key in ("base", "m1", "m2")}
    assert len(texts) == 3, "the adapters must change the answers"
    for number in (1, 2):
        mine, merged = alone[f"a{number}"], alone[f"m{number}"]
        assert mine.logprobs is not None
        assert merged.logprobs is not None
        # In 16 bits and with a random model the choice between near ties may differ after some tokens.
        assert mine.text[:1] == merged.text[:1]
        assert mine.logprobs[:2] == pytest.approx(merged.logprobs[:2], abs=0.2)
    # Both in one batch, again and again: nothing of one is taken for the other (prefixes are kept apart).
    for _ in range(2):
        both = await asyncio.gather(*(models[key].generate([REQUEST] * 3) for key in ("a1", "a2")))
        assert [reply.text for reply in both[0]] == [alone["a1"].text] * 3
        assert [reply.text for reply in both[1]] == [alone["a2"].text] * 3
    assert len({models[key].fingerprint for key in ("base", "a1", "a2")}) == 3
    again = open_model(names["a1"], settings)
    assert again.fingerprint == models["a1"].fingerprint
    assert (await again.generate([REQUEST]))[0].text == alone["a1"].text
    for model in (*models.values(), again):
        await model.close()


def test_what_the_engine_cannot_run_is_refused(tiny: Base, made: Path, tmp_path: Path) -> None:
    read = lora.read(made / "a2")
    assert read.rank == 2
    a, b = read.matrices[0, "q_proj"]
    assert (a.shape[0], b.shape[1]) == (2, 2)
    recipe = replace(RECIPE, method="prompt", virtual=3)
    export.save_adapter(open_session(tiny, recipe), recipe, tmp_path / "prompt")
    with pytest.raises(Unsupported, match="PROMPT_TUNING"):
        open_model(f"{tiny.gguf}@{tmp_path / 'prompt'}", Settings())
    dora = replace(RECIPE, dora=True)
    export.save_adapter(open_session(tiny, dora), dora, tmp_path / "dora")
    with pytest.raises(Unsupported, match="DoRA"):
        open_model(f"{tiny.gguf}@{tmp_path / 'dora'}", Settings())
    with pytest.raises(InputError, match="no readable adapter_config"):
        open_model(f"{tiny.gguf}@{tmp_path}", Settings())
    note = made / "a1" / "rung.json"
    kept = note.read_text()
    note.write_text(json.dumps({"base": str(tiny.gguf), "key": "0" * 64}))
    with pytest.raises(InputError, match="another base"):
        open_model(f"{tiny.gguf}@{made / 'a1'}", Settings())
    note.write_text(kept)


def test_shelf_lays_adapters_side_by_side(made: Path) -> None:
    shelf = lora.AdapterSlots()
    one, two = lora.read(made / "a1"), lora.read(made / "a2")
    assert [shelf.take(one), shelf.take(two), shelf.take(one)] == [1, 2, 1]
    assert shelf.spans() == [(0, 4), (4, 6)]
    a, b = one.matrices[0, "up_proj"]
    wide_a, wide_b = shelf.matrices((0, "up_proj"), (b.shape[0], a.shape[1]))
    assert np.array_equal(wide_a[:4], a)
    assert not wide_a[4:].any()
    assert np.array_equal(wide_b[:, :4], b)
    assert two.matrices[0, "q_proj"][1].std() > 0
    assert math.isclose(RECIPE.alpha / math.sqrt(2), 8 / math.sqrt(2))
    with pytest.raises(InputError, match="give the adapter its own base"):
        shelf.matrices((0, "up_proj"), (3, a.shape[1]))
