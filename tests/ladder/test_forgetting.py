"""Before and after, on tasks by the fake model and on texts by random weights."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.ladder import forgetting

pytest.importorskip("transformers")


@pytest.fixture
def weights(tmp_path: Path) -> list[Path]:
    """Two random two-layer bases as GGUF files."""
    from tests.tuning.conftest import write_gguf

    return [write_gguf(tmp_path / f"{seed}.gguf", seed=seed) for seed in (0, 1)]


async def test_perplexity_equals_a_plain_computation(weights: list[Path], tmp_path: Path) -> None:
    import torch

    from rung.models.transformers import open_model

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


async def test_tasks_are_compared_pair_by_pair(tmp_path: Path) -> None:
    settings = Settings({"store": f"sqlite:///{tmp_path / 'rung.db'}"})
    rows = await forgetting.measure("fake:echo", "fake:down", ["support-intent"], settings, limit=12)
    (row,) = rows
    assert row.difference.n == 12
    assert row.after.value == 0  # one that never answers has forgotten everything
    assert row.before.value > row.after.value
    assert row.word in ("worse", "no difference")
    said = forgetting.table(rows)
    assert "support-intent" in said
    assert forgetting.worth(rows)
