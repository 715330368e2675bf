"""Composed adapters: what the result computes, against peft and against the parts one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError, Unsupported
from rung.models.adapters import adapters, compose

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def base() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def logits(model: Any) -> Any:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def lora(folder: Path, *, seed: int, rank: int = 4, alpha: float = 8, key: str = "k", **options: Any) -> Path:
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, task_type="CAUSAL_LM", **options)
    model = peft.get_peft_model(base(), config)
    torch.manual_seed(seed)
    for name, part in model.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(part, std=0.3)
    model.peft_config["default"].base_model_name_or_path = "somewhere"
    model.save_pretrained(folder)
    adapters.note(folder, "somewhere", key)
    return folder


def modules(folder: Path, *, seed: int, width: int = 6, key: str = "k") -> Path:
    model = base()
    named = adapters.insert(model, adapters.Modules({"default": width}))
    torch.manual_seed(seed)
    for _, part in named:
        torch.nn.init.normal_(part, std=0.3)
    from safetensors.torch import save_file

    folder.mkdir()
    save_file({name: part.detach() for name, part in named}, folder / adapters.WEIGHTS)
    document = adapters.Modules({"default": width}).document("somewhere")
    (folder / adapters.CONFIG).write_text(json.dumps(document))
    adapters.note(folder, "somewhere", key)
    return folder


def attached(folder: Path) -> Any:
    return adapters.attach(base(), folder)[0]


@pytest.mark.parametrize("how", ["cat", "linear"])
@pytest.mark.parametrize("weights", [(0.5, 0.5), (1.0, 0.25), (1.0, -0.5)])
def test_merged_lora_is_what_peft_makes_of_it(tmp_path: Path, how: compose.How, weights: tuple[float, float]) -> None:
    first = lora(tmp_path / "a", seed=1, target_modules=["q_proj", "up_proj"])
    second = lora(tmp_path / "b", seed=2, alpha=4, target_modules=["q_proj", "up_proj"])
    made = compose.merge([first, second], weights, how, tmp_path / "c")
    theirs = peft.PeftModel.from_pretrained(base(), first, adapter_name="a")
    theirs.load_adapter(second, "b")
    theirs.add_weighted_adapter(["a", "b"], list(weights), "both", combination_type=how)
    theirs.set_adapter("both")
    ours = logits(peft.PeftModel.from_pretrained(base(), made.folder))
    torch.testing.assert_close(ours, logits(theirs), rtol=0, atol=1e-4)
    assert (ours - logits(base())).abs().max() > 0.1


def test_cat_is_the_sum_of_what_each_adds(tmp_path: Path) -> None:
    """Unlike ranks, targets and scalings: the weights themselves are compared."""
    first = lora(tmp_path / "a", seed=1, rank=2, use_rslora=True, target_modules=["q_proj", "down_proj"])
    second = lora(tmp_path / "b", seed=2, rank=5, target_modules=["q_proj", "v_proj"])
    third = lora(tmp_path / "c", seed=3, rank=1, target_modules="all-linear")
    parts, weights = [first, second, third], (1.0, 0.5, 0.25)
    compose.merge(parts, weights, "cat", tmp_path / "all")
    plain = base().state_dict()
    wanted = {name: value.clone() for name, value in plain.items()}
    for folder, weight in zip(parts, weights, strict=True):
        for name, value in peft.PeftModel.from_pretrained(base(), folder).merge_and_unload().state_dict().items():
            wanted[name] += weight * (value - plain[name])
    got = peft.PeftModel.from_pretrained(base(), tmp_path / "all").merge_and_unload().state_dict()
    for name, value in wanted.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=1e-5, msg=name)


def test_merged_modules_add_what_each_adds(tmp_path: Path) -> None:
    parts = [modules(tmp_path / "a", seed=1), modules(tmp_path / "b", seed=2, width=3)]
    compose.merge(parts, (0.5, 2.0), "cat", tmp_path / "c")
    models = [attached(folder) for folder in (*parts, tmp_path / "c")]
    x = torch.randn(3, 32)
    one, two, both = (model.model.layers[1].mlp.adapters(x) - x for model in models)
    torch.testing.assert_close(both, 0.5 * one + 2.0 * two)
    with pytest.raises(InputError, match="widths are 6, 3"):
        compose.merge(parts, (), "linear", tmp_path / "d")
    same = modules(tmp_path / "e", seed=1)
    compose.merge([parts[0], same], (), "linear", tmp_path / "f")
    torch.testing.assert_close(logits(attached(tmp_path / "f")), logits(attached(parts[0])))


def test_stacked_modules_are_applied_in_order(tmp_path: Path) -> None:
    parts = [modules(tmp_path / "a", seed=1), modules(tmp_path / "b", seed=2, width=3)]
    compose.stack(parts, tmp_path / "ab")
    compose.stack(parts[::-1], tmp_path / "ba")
    one, two, ab, ba = (
        attached(folder).model.layers[0].mlp.adapters for folder in (*parts, tmp_path / "ab", tmp_path / "ba")
    )
    x = torch.randn(3, 32)
    torch.testing.assert_close(ab(x), two(one(x)))
    torch.testing.assert_close(ba(x), one(two(x)))
    assert adapters.fingerprint(tmp_path / "ab") != adapters.fingerprint(tmp_path / "ba")
    compose.stack([tmp_path / "ab", parts[0]], tmp_path / "aba")
    torch.testing.assert_close(attached(tmp_path / "aba").model.layers[0].mlp.adapters(x), one(two(one(x))))


def test_what_cannot_be_composed(tmp_path: Path) -> None:
    one, two = lora(tmp_path / "a", seed=1, target_modules=["q_proj"]), modules(tmp_path / "m", seed=1)
    other = lora(tmp_path / "other", seed=1, key="another", target_modules=["q_proj"])
    dora = lora(tmp_path / "dora", seed=1, use_dora=True, target_modules=["q_proj"])
    wide = lora(tmp_path / "wide", seed=1, rank=6, target_modules=["q_proj"])
    to = tmp_path / "to"
    for parts, weights, how, kind, said in (
        ([one], (), "cat", InputError, "at least two"),
        ([one, two], (), "cat", InputError, "do not go into one"),
        ([one, other], (), "cat", InputError, r"was tuned on somewhere \(k"),
        ([one, dora], (), "cat", Unsupported, "use_dora"),
        ([one, wide], (), "linear", InputError, "ranks are 4, 6"),
        ([one, one], (1.0,), "cat", InputError, "got 1 weights for 2"),
        ([one, one], (1.0, float("nan")), "cat", InputError, "got 2 weights"),
        ([one, tmp_path], (), "cat", InputError, "no readable"),
    ):
        with pytest.raises(kind, match=said):
            compose.merge(parts, weights, how, to)  # type: ignore[arg-type]
        assert not to.exists()
    with pytest.raises(Unsupported, match="one behind the other"):
        compose.stack([one, one], to)
    with pytest.raises(InputError, match="is there already"):
        compose.stack([two, two], one)
    compose.stack([two, two], to)
    with pytest.raises(Unsupported, match="holds 2 modules"):
        compose.merge([to, two], (), "cat", tmp_path / "x")


def test_another_scaling_is_another_adapter(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")

    def written(**config: object) -> dict[str, str]:
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "x", **config}))
        return adapters.fingerprint(folder)

    first = written(lora_alpha=32)
    assert written(lora_alpha=32, base_model_name_or_path="elsewhere/x") == first
    assert written(lora_alpha=64) != first
