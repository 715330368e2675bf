"""Before and after, on tasks by the fake model and on texts by random weights."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rung.core.codec import digest
from rung.core.errors import InputError, ModelError
from rung.core.settings import Settings
from rung.studies.models import forgetting
from rung.studies.models.forgetting import Forgetting
from rung.studies.study import Lab

pytest.importorskip("transformers")


@pytest.fixture
def weights(tmp_path: Path) -> list[Path]:
    """Two random two-layer bases as GGUF files."""
    from tests.tuning.conftest import write_gguf

    return [write_gguf(tmp_path / f"{seed}.gguf", seed=seed) for seed in (0, 1)]


async def test_perplexity_equals_a_plain_computation(weights: list[Path], tmp_path: Path) -> None:
    import torch

    from rung.models.providers.transformers.model import open_model

    text = "the sky at night, far from the town. " * 120
    (tmp_path / "book.txt").write_text(text)
    row = await forgetting.perplexities(str(weights[0]), str(weights[1]), tmp_path / "book.txt", Settings())
    assert row.difference.n == math.ceil(len(text) / forgetting.PIECE)
    for path, got in zip(weights, (row.before, row.after), strict=True):
        model = open_model(str(path), Settings())
        loaded = model._load()
        total, count = 0.0, 0
        for at in range(0, len(text), forgetting.PIECE):
            ids = loaded.tokenizer.encode(text[at : at + forgetting.PIECE], add_special_tokens=False)
            for start in range(0, len(ids) - 1, 511):
                piece = torch.tensor([ids[start : start + 512]])
                with torch.no_grad():
                    total += float(loaded.model(input_ids=piece, labels=piece).loss) * (piece.shape[1] - 1)
                count += piece.shape[1] - 1
        assert got.value == pytest.approx(math.exp(total / count), rel=1e-3)
        assert got.low <= got.value <= got.high
        await model.close()
    same = await forgetting.perplexities(str(weights[0]), str(weights[0]), tmp_path / "book.txt", Settings())
    assert same.difference.value == 0
    assert same.word == "no difference"
    (tmp_path / "short.txt").write_text("short")
    with pytest.raises(InputError, match="too little text"):
        await forgetting.perplexities(str(weights[0]), str(weights[1]), tmp_path / "short.txt", Settings())


async def test_the_standard_library_is_text_that_is_always_there(weights: list[Path], lab: Lab) -> None:
    from rung.models.providers.transformers.model import open_model
    from rung.tasks.packs.corpus import read_stdlib

    (row,) = await Forgetting(str(weights[0]), str(weights[1]), ("python-stdlib",), limit=5).measure(None, lab)
    assert (row.name, row.metric, row.difference.n) == ("python-stdlib", "perplexity", 5)
    texts = {name: text for name, text in read_stdlib().items() if len(text) >= forgetting.BEGINNING}
    chosen = [texts[name] for name in sorted(texts, key=digest)[:5]]
    model = open_model(str(weights[0]), Settings())
    said = await model.recall([((), text[: forgetting.BEGINNING]) for text in chosen])
    await model.close()
    assert row.before.value == pytest.approx(math.exp(-sum(map(sum, said)) / sum(map(len, said))), rel=1e-6)
    assert row.after.value != row.before.value


async def test_tasks_are_compared_pair_by_pair(lab: Lab) -> None:
    study = Forgetting("fake:echo", "fake:slow", ("support-intent",), limit=12)
    rows = await study.measure(None, lab)
    (row,) = rows
    assert row.difference.n == 12
    assert row.before.value == row.after.value
    assert row.word == "no difference"
    with pytest.raises(
        ModelError
    ) as raised:  # one that never answers has not forgotten everything: it was not measured
        await Forgetting("fake:echo", "fake:down", ("support-intent",), limit=12).measure(None, lab)
    assert raised.value.code == "server"
    said = study.table(rows)
    assert "support-intent" in said
    assert "nothing measured on 1 general sets got worse" in said


async def test_answers_of_rows_are_compared_kind_by_kind(weights: list[Path], tmp_path: Path, lab: Lab) -> None:
    import json

    import torch

    from rung.models.providers.transformers.model import open_model

    def row(question: str, answer: str, **source: str) -> str:
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return (
            json.dumps({"messages": messages, "rung": {"id": question, "shape": "messages", "source": source}}) + "\n"
        )

    asked = [(f"Translate the word {n} into French.", f"mot {n}") for n in range(4)]
    listed = [(f"List the uses of item {n}.", "rope, tent") for n in range(3)]
    rows = [row(*pair) for pair in asked] + [row(*pair, kind="mine") for pair in listed]
    rows += [row("Summarize this.", "alone"), row("List " + "long " * 900, "x", kind="mine")]
    (tmp_path / "held.jsonl").write_text("".join(rows))
    one, two = map(str, weights)
    found = await Forgetting(one, two, (str(tmp_path / "held.jsonl"),)).measure(None, lab)
    assert [(row.name, row.metric, row.difference.n) for row in found] == [
        ("held.jsonl: mine", "answer perplexity", 3),
        ("held.jsonl: translate", "answer perplexity", 4),
    ]
    # The same by the model's own forward pass over the chat text of each row.
    model = open_model(one, Settings())
    loaded = model._load()
    total, count = 0.0, 0
    for question, answer in asked:
        front = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        before = loaded.tokenizer.encode(front, add_special_tokens=False)
        after = loaded.tokenizer.encode(f"{answer}<|im_end|>", add_special_tokens=False)
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([before + after])).logits[0, :-1].float().log_softmax(-1)
        picked = logits.gather(1, torch.tensor([before + after])[0, 1:, None])[-len(after) :]
        total, count = total - float(picked.sum()), count + len(after)
    await model.close()
    assert found[1].before.value == pytest.approx(math.exp(total / count), rel=1e-3)
    assert found[1].before.low <= found[1].before.value <= found[1].before.high
    assert found[1].before.value != found[1].after.value
    same = await forgetting.answers(one, one, tmp_path / "held.jsonl", Settings(), limit=2)
    assert [(row.difference.value, row.difference.n, row.word) for row in same] == [(0, 2, "no difference")] * 2
    (tmp_path / "held.jsonl").write_text(row("Summarize this.", "alone"))
    with pytest.raises(InputError, match="too few rows"):
        await forgetting.answers(one, two, tmp_path / "held.jsonl", Settings())
