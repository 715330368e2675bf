"""Keywords that are learned: those that are surely of a label, in any script."""

from __future__ import annotations

import random

from rung.core.codec import canonical
from rung.core.types import Example, ResponseFormat, Task
from rung.foundations.baselines.rules import Rules, RulesProgram


def task(rows: list[tuple[str, str]]) -> Task:
    train = tuple(Example(str(at), {"text": text}, label) for at, (text, label) in enumerate(rows))
    labels = tuple(dict.fromkeys(label for _, label in rows))
    return Task("t", "", ResponseFormat("labels", labels), ("text",), train, (), (), ("accuracy",), "h")


def learn(rules: Rules, rows: list[tuple[str, str]]) -> RulesProgram:
    return RulesProgram((), rows[0][1], rules._learn(task(rows)))


def test_a_word_seen_often_ranks_before_one_seen_in_one_label_alone() -> None:
    """ "refund" is in 40 of 50 refunds and in 2 of 50 others; each refund also has a name of its own, seen twice."""
    chance = random.Random(0)
    rows = [(f"{'refund' if at < 40 else 'money'} for order{at // 2}", "refund") for at in range(50)]
    rows += [(f"{'refund' if at < 2 else 'parcel'} of person{at // 2}", "parcel") for at in range(50)]
    chance.shuffle(rows)
    learned = dict(Rules(keywords=3)._learn(task(rows)))
    assert learned["refund"][0][0] in ("refund", "for")
    assert "refund" in [word for word, _ in learned["refund"]]
    assert "parcel" in [word for word, _ in learned["parcel"]]


async def test_scripts_without_spaces_and_small_letters() -> None:
    rows = [("我想退款", "refund"), ("请退款给我", "refund"), ("包裹在哪里", "parcel"), ("我的包裹呢", "parcel")]
    program = learn(Rules(), rows)
    assert (await program("为什么不退款")).output == "refund"
    assert (await program("包裹")).output == "parcel"
    program = learn(Rules(), [("ГДЕ посылка", "parcel"), ("верните деньги", "refund")])
    assert (await program("Посылка!")).output == "parcel"
    assert (await program("???")).confidence == 0.0


async def test_it_comes_back_as_it_was() -> None:
    program = learn(Rules(), [("where is it", "parcel"), ("money back", "refund")])
    again = RulesProgram([("x", [("a+", 1.0)])], "parcel", program.spec()["keywords"])
    assert canonical(again.spec()["keywords"]) == canonical(program.spec()["keywords"])
    assert (await again("aaa")).output == "x"
    assert (await again("money")).output == "refund"
