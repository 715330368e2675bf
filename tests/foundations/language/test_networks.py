"""Each network of this room against the one of torch.nn or transformers, number by number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rung.core.errors import FitError
from rung.foundations.language import training
from rung.foundations.language.attention import later, multi_head
from rung.foundations.language.position import rotary, sinusoidal
from rung.foundations.language.recurrent import GATES, RecurrentModel, unroll
from rung.foundations.language.seq2seq import BEGIN, END, PAD, EncoderDecoder, padded
from rung.foundations.language.transformer import DecoderModel, DecoderShape, KeyValueCache

torch: Any = pytest.importorskip("torch")


@pytest.mark.parametrize("kind", list(GATES))
def test_a_recurrent_network_is_torchs(kind: str) -> None:
    torch.manual_seed(3)
    theirs = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](5, 7)
    weights = {name.removesuffix("_l0"): value for name, value in theirs.named_parameters()}
    x = torch.randn(11, 3, 5, requires_grad=True)
    ours, wanted = unroll(kind, x, weights), theirs(x)[0]
    assert torch.allclose(ours, wanted, atol=1e-6)
    (wanted.square().sum()).backward()
    gradients = [value.grad.clone() for value in theirs.parameters()]
    theirs.zero_grad()
    ours.square().sum().backward()
    assert all(torch.allclose(a, b.grad, atol=1e-5) for a, b in zip(gradients, theirs.parameters(), strict=True))


def test_gates_are_shown_and_between_0_and_1() -> None:
    for kind, names in (("lstm", {"input", "forget", "output"}), ("gru", {"reset", "update"})):
        seen: list[tuple[str, Any]] = []
        model = RecurrentModel.fresh(kind, 9, 4, 6, 0)
        model.logits(torch.tensor([[1, 2, 3]]), lambda *shown: seen.append(shown))  # noqa: B023
        assert len(seen) == 3 * len(names)
        assert {name for name, _ in seen} == names
        assert all(gate.shape == (1, 6) and gate.min() > 0 and gate.max() < 1 for _, gate in seen)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_several_heads_is_torchs(causal: bool) -> None:
    torch.manual_seed(1)
    theirs = torch.nn.MultiheadAttention(8, 4, bias=False, batch_first=True)
    q, k, v = theirs.in_proj_weight.chunk(3)
    weights = {"a.q": q, "a.k": k, "a.v": v, "a.o": theirs.out_proj.weight}
    x, other = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    mask = later(5, 5) if causal else None
    ours, shares = multi_head(x, other, weights, "a", 4, mask)
    wanted, their_shares = theirs(x, other, other, attn_mask=mask, average_attn_weights=False)
    assert torch.allclose(ours, wanted, atol=1e-6)
    assert torch.allclose(shares, their_shares, atol=1e-6)
    assert torch.allclose(shares.sum(-1), torch.ones(2, 4, 5), atol=1e-6)


def test_rotary_products_depend_on_the_distance() -> None:
    q, k = torch.randn(1, 8), torch.randn(1, 8)
    at = [(rotary(q, torch.tensor([i])) * rotary(k, torch.tensor([j]))).sum() for i, j in ((3, 1), (10, 8), (102, 100))]
    assert torch.allclose(torch.stack(at), at[0].expand(3), atol=1e-4)
    waves = sinusoidal(torch.arange(4), 6)
    assert waves[0].tolist() == [0, 1, 0, 1, 0, 1]
    assert waves[3, 0] == pytest.approx(np.sin(3), abs=1e-6)


def test_the_decoder_is_llama() -> None:
    transformers: Any = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        intermediate_size=40, rms_norm_eps=1e-5, tie_word_embeddings=True, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(config).eval()
    ours = DecoderModel(DecoderShape(50, 24, 2, 6, 2, 40), dict(theirs.state_dict()))
    ids = torch.randint(0, 50, (2, 9))
    seen: dict[str, Any] = {}
    with torch.no_grad():
        logits = ours.logits(ids, seen.__setitem__)
        wanted = theirs(ids, output_attentions=True, output_hidden_states=True)
        assert torch.allclose(logits, wanted.logits, atol=1e-5)
        assert torch.allclose(seen["attention 1"], wanted.attentions[1], atol=1e-6)
        assert torch.allclose(seen["layer 0"], wanted.hidden_states[1], atol=1e-5)
        cache = KeyValueCache()
        parts = [ours.logits(ids[:, a:b], cache=cache) for a, b in ((0, 4), (4, 5), (5, 9))]
        assert torch.allclose(torch.cat(parts, 1), logits, atol=1e-5)
        cache.choose(torch.tensor([1, 1]))
        again = ours.logits(ids[:1, :1].expand(2, 1), cache=cache, last=True)
        assert torch.equal(again[0], again[1])


@pytest.mark.parametrize("position", ["none", "learned", "sinusoidal", "rotary"])
def test_a_decoder_learns(position: str) -> None:
    shape = DecoderShape(8, 16, 1, 2, 2, 24, position=position, places=16)
    model = DecoderModel.fresh(shape, 0)
    data = np.frombuffer(bytes([1, 2, 3, 4]) * 40, np.uint8)
    batches = training.windows(data, 60, 8, 12, 0)
    curve = training.fit(
        model.weights, lambda ids: training.cross_entropy(model.logits(ids[:, :-1]), ids[:, 1:]), batches,
        training.TrainingPlan(60, 2e-2),
    )  # fmt: skip
    assert curve[-1] < 0.3 < curve[0]
    assert not any(value.requires_grad for value in model.weights.values())


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    weights = {"a": torch.ones(1)}
    with pytest.raises(FitError) as caught:
        training.fit(weights, lambda _: weights["a"].sum() * float("nan"), iter([0]), training.TrainingPlan(1))
    assert caught.value.code == "diverged"


def test_an_encoder_and_a_decoder_turn_a_text_round() -> None:
    model = EncoderDecoder.fresh(9, 32, 1, 2, 0)
    rng = np.random.default_rng(0)

    def batches() -> Iterator[Any]:
        for _ in range(120):
            rows = [rng.integers(4, 9, rng.integers(2, 4)).tolist() for _ in range(16)]
            yield padded(rows), padded([[BEGIN, *reversed(row), END] for row in rows])

    training.fit(model.weights, lambda pair: model.loss(*pair), batches(), training.TrainingPlan(120, 1e-2))
    assert model.write(padded([[4, 5], [8, 7]]), 6) == [[5, 4], [7, 8]]
    padding = torch.tensor([[4, 5, PAD, PAD]])
    assert torch.allclose(model.encode(padding)[:, :2], model.encode(padding[:, :2]), atol=1e-5), "padding is not seen"
