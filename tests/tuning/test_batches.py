from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import FitError
from rung.core.types import Message
from rung.tuning.batches import Chat, TokenRow, assemble, encode, shuffle, split
from tests.tuning.conftest import Conversations


def test_row_is_prompt_answer_stop(chat: Chat, conversations: Conversations) -> None:
    for id, messages in conversations:
        (row,) = chat.rows(id, messages)
        prompt = chat.prompt(messages[:-1])
        assert list(row.ids[: row.start]) == prompt
        assert chat.decode(prompt).endswith("<|im_start|>assistant\n")
        assert chat.decode(row.ids[row.start :]) == messages[-1].content + "<|im_end|>"
        assert row.trained == (False,) * len(prompt) + (True,) * (len(row) - len(prompt))


def test_every_assistant_turn_is_trained(chat: Chat) -> None:
    turns = [Message("user", "one"), Message("assistant", "1"), Message("user", "two"), Message("assistant", "2")]
    (row,) = chat.rows("talk", turns)
    assert chat.show(row, colour=False).count("⟦") == 2
    assert "⟦1<|im_end|>⟧" in chat.show(row, colour=False)
    assert "\x1b[32m2<|im_end|>\x1b[0m" in chat.show(row)
    assert list(row.ids[: row.ids.index(chat.stop, row.start + 2) - 1])[: row.start] == chat.prompt(turns[:1])


def test_control_tokens_in_text_are_text(chat: Chat) -> None:
    (row,) = chat.rows("x", [Message("user", "say <|im_end|> twice"), Message("assistant", "<|im_end|>")])
    assert sum(1 for one, on in zip(row.ids, row.trained, strict=True) if on and one == chat.stop) == 1
    assert row.ids[-1] == chat.stop


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([Message("user", "hi")], "no assistant turn"),
        ([Message("user", "a"), Message("assistant", "  ")], "empty answer"),
    ],
)
def test_bad_rows_are_named(chat: Chat, messages: list[Message], said: str) -> None:
    with pytest.raises(FitError, match=f"row bad.*{said}"):
        chat.rows("bad", messages)


def test_long_rows_are_left_out(chat: Chat, conversations: Conversations) -> None:
    lengths = sorted(len(chat.rows(*item)[0]) for item in conversations)
    kept, dropped = encode(chat, conversations, window=lengths[3])
    assert (len(kept), dropped) == (sum(n <= lengths[3] for n in lengths), sum(n > lengths[3] for n in lengths))
    with pytest.raises(FitError, match=r"all 8 rows are longer than the window of 5 tokens"):
        encode(chat, conversations, window=5)


def make(specs: list[tuple[int, int]], shared: int) -> list[TokenRow]:
    out = []
    for index, (prompt, answer) in enumerate(specs):
        ids = (*range(shared), *(10_000 + 100 * index + k for k in range(prompt + answer)))
        out.append(TokenRow(f"r{index}", ids, (False,) * (shared + prompt) + (True,) * answer))
    return out


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9)), min_size=1, max_size=12),
    st.integers(0, 20),
    st.integers(16, 200),
)
def test_split_keeps_every_token_and_target(specs: list[tuple[int, int]], shared: int, budget: int) -> None:
    rows = make(specs, shared)
    batches = split(rows, budget)
    assert sorted(row.id for batch in batches for row in batch.members) == sorted(row.id for row in rows)
    for batch in batches:
        held = sorted(batch.members, key=len)
        assert len(batch.members) == 1 or len(batch.ids) <= budget
        assert batch.tokens == sum(map(len, held))
        expected = [(row.ids[at - 1], row.ids[at]) for row in held for at in range(len(row)) if row.trained[at]]
        assert [
            (int(batch.ids[source]), int(target)) for source, target in zip(batch.sources, batch.targets, strict=True)
        ] == expected
        # Behind the prefix, each group's valid tokens are each row's own rest, in order and at its own positions.
        rest = []
        for group in batch.groups:
            for number, line in enumerate(group.index):
                ok = line if group.valid is None else line[group.valid[number]]
                rest.append(tuple(int(batch.ids[at]) for at in ok))
                assert [int(batch.positions[at]) for at in ok] == list(range(batch.prefix, batch.prefix + len(ok)))
        assert rest == [row.ids[batch.prefix : -1] for row in held if len(row) - 1 > batch.prefix]


def test_prefix_never_reaches_into_an_answer() -> None:
    rows = [
        TokenRow("a", (1, 2, 3, 4), (False, False, True, True)),
        TokenRow("b", (1, 2, 3, 4), (False, False, True, True)),
    ]
    assert assemble(rows).prefix == 2


def test_shuffle_depends_on_seed_and_epoch_only() -> None:
    assert shuffle(50, 1, 7) == shuffle(50, 1, 7)
    assert shuffle(50, 1, 7) != shuffle(50, 2, 7)
    assert sorted(shuffle(50, 3, 0)) == list(range(50))


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_split_makes_pieces_of_like_work(pieces: int) -> None:
    rows = [TokenRow(str(n), (1, 2, *range(3, 8 + n)), (False,) * 4 + (True,) * (3 + n)) for n in range(9)]
    batches = split(rows, 4096, pieces)
    assert len(batches) == pieces
    assert sorted(row.id for batch in batches for row in batch.members) == sorted(row.id for row in rows)
    work = [len(batch.ids) for batch in batches]
    assert max(work) - min(work) <= max(map(len, rows))
    assert split(rows[:1], 4096, pieces)[0].members == (rows[0],)
