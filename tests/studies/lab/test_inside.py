"""What is shown of a model, on a small Llama in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError
from rung.studies.lab.language.inside import AttentionOf, TraceForward
from rung.studies.study import Lab

transformers: Any = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("llama")
    vocabulary = {word: at for at, word in enumerate(("[UNK]", "the", "lamp", "burns", "<", "tonight"))}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, unk_token="[UNK]").save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=6, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


async def test_maps_are_those_of_transformers(small: str, lab: Lab, tmp_path: Path) -> None:
    to = tmp_path / "maps.html"
    study = AttentionOf("the lamp < burns", to=to, model=small)
    found = await study.measure(None, lab)
    assert found.rows < 1e-5
    assert found.apart < 1e-5
    assert (len(found.maps), len(found.maps[0]), len(found.maps[0][0])) == (2, 4, 4)
    assert found.maps[1][3][0] == (1.0, 0.0, 0.0, 0.0)
    data = to.read_text().split("const data=")[1].split(";const n=")[0]
    assert "<" not in data
    assert json.loads(data)["tokens"][2] == "<"
    assert "rows sum to 1" in study.table(found)
    followed = await TraceForward("the lamp burns", model=small).measure(None, lab)
    assert [step.name for step in followed.steps] == ["embedding", "layer 0", "layer 1", "norm", "logits"]
    assert all(step.apart is None or step.apart < 1e-5 for step in followed.steps)
    assert followed.next[0] == (followed.steps[-1].says, followed.steps[-1].logit)
    assert followed.ids == (1, 2, 3)


@pytest.mark.parametrize(("text", "code"), [("", "empty-text"), ("lamp " * 200, "long-text")])
async def test_texts_that_cannot_be_shown(text: str, code: str, small: str, lab: Lab) -> None:
    with pytest.raises(InputError) as caught:
        await AttentionOf(text, model=small).measure(None, lab)
    assert caught.value.code == code


async def test_a_file_of_another_kind(small: str, lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        await AttentionOf("the lamp", to=tmp_path / "a.png", model=small).measure(None, lab)
