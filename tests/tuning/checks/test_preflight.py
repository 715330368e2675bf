from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rung.core.errors import FitError
from rung.core.types import Message
from rung.tuning.batches import Chat, TokenRow
from rung.tuning.checks import preflight
from rung.tuning.compute.session import Session, losses
from rung.tuning.weights import Base
from tests.tuning.conftest import RECIPE, Conversations


def test_good_rows_pass_and_nothing_is_changed(
    session: Session, tiny: Base, chat: Chat, rows: list[TokenRow], conversations: Conversations
) -> None:
    before = session.vector.clone()
    checks = preflight.inspect(session, chat, (rows, []), conversations, RECIPE)
    checks.demand()
    assert {check.name: check.passed for check in checks.checks} == {
        "stop token": True,
        "mask": True,
        "template": True,
        "computation": True,
        "overfit": True,
        "memory": True,
    }
    assert torch.equal(session.vector, before)
    assert not session.grad.any()
    assert checks.example.count("⟦") == 1
    assert 0 < checks.seconds < 600
    assert "passed  mask: only answers are trained" in str(checks)


def test_stop_token_left_out(chat: Chat, rows: list[TokenRow]) -> None:
    short = [TokenRow(row.id, row.ids[:-1], row.trained[:-1]) for row in rows]
    check = preflight.check_stop(chat, short)
    assert check.passed is False
    untrained = [TokenRow(row.id, row.ids, (*row.trained[:-1], False)) for row in rows]
    assert preflight.check_stop(chat, untrained).passed is False
    with pytest.raises(FitError, match="pre-flight check 'stop token' failed: row row0 does not end"):
        preflight.Preflight((check,), "", 0, 0).demand()


def test_mask_over_the_prompt(chat: Chat, rows: list[TokenRow], conversations: Conversations) -> None:
    row = rows[0]
    wide = TokenRow(row.id, row.ids, tuple(place >= row.start - 3 for place in range(len(row))))
    check = preflight.check_mask(chat, [wide], conversations)
    assert check.passed is False
    assert "its answers are ['red']" in check.detail
    talk = [Message("user", "a"), Message("assistant", "1"), Message("user", "b"), Message("assistant", "2")]
    assert preflight.check_mask(chat, chat.rows("talk", talk), [("talk", talk)]).passed is True


def test_another_tokenizer_is_seen(tiny: Base, chat: Chat, conversations: Conversations) -> None:
    class Other(Chat):
        def __init__(self) -> None:
            self.__dict__.update(chat.__dict__)

        def prompt(self, messages: object) -> list[int]:
            ids = chat.prompt(messages)  # type: ignore[arg-type]
            return [*ids[:5], ids[5] + 1, *ids[6:]]

    check = preflight.check_template(tiny, Other(), conversations)
    assert check.passed is False
    assert "first at 5" in check.detail


def test_a_model_the_lean_step_gets_wrong(
    session: Session, rows: list[TokenRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "losses", lambda *args: losses(*args) * 1.5)
    check = preflight.check_math(session, rows)
    assert check.passed is False
    assert "llama" in check.remedy


def test_rows_that_cannot_be_learnt(session: Session, rows: list[TokenRow]) -> None:
    """One prompt, contradicting answers: no adapter can give each."""
    start = rows[0].start
    torn = [
        TokenRow(f"t{tail}", (*rows[0].ids[:start], 10 + 31 * tail), (False,) * start + (True,)) for tail in range(4)
    ]
    check = preflight.check_overfit(session, torn, replace(RECIPE, rate=1e-3))
    assert check.passed is False


def test_memory_that_is_not_there() -> None:
    check = preflight.check_memory(10**15, 60.0)
    assert check.passed is False
    assert "lower tokens" in check.remedy


def test_of_a_long_text_the_beginning_is_learnt_by_heart_and_of_an_answer_all(rows: list[TokenRow]) -> None:
    text = TokenRow("novel#0", tuple(range(900)), (False,) + (True,) * 899)
    begun = preflight._beginning(text)
    assert (begun.ids, begun.answers) == (text.ids[: preflight.BY_HEART], preflight.BY_HEART - 1)
    assert preflight._beginning(rows[0]) is rows[0]
