from __future__ import annotations

from dataclasses import replace

import pytest

from rung.core.errors import InputError
from rung.core.types import Request
from rung.models.providers.fake import Fake
from rung.prompts.patterns.dialogue.quiz import GAP, Quiz, QuizQuestion, check

PASSAGES = {
    "lamp": "The safety lamp was invented by Humphry Davy in 1815 for coal miners. Before it, miners often used candles.",
    "rail": "The first public railway was opened by George Stephenson in 1825 with one engine.",
    "moon": "The first people on the moon were led by Neil Armstrong in July 1969 during a mission.",
    "phone": "The telephone was shown in public by Alexander Bell in 1876 at a fair.",
    "wall": "The wall across the north was built under the emperor Hadrian around 122 by soldiers.",
}


async def play(quiz: Quiz, right: list[bool]) -> list[QuizQuestion]:
    asked = []
    for good in right:
        question = await quiz.ask()
        if question is None:
            break
        asked.append(question)
        choice = question.answer if good else (question.answer + 1) % len(question.options)
        assert quiz.tell(question, choice) is good
    return asked


async def test_every_question_has_a_key_that_a_checker_finds() -> None:
    quiz = Quiz(PASSAGES)
    asked = await play(quiz, [True] * 5)
    assert len(asked) == 5
    for question in asked:
        assert check(question, PASSAGES) == ""
        assert question.key in question.sentence
        assert question.sentence in PASSAGES[question.passage]
        assert GAP in question.text
        assert len(question.options) == 4
    assert await quiz.ask() is None
    assert len({question.sentence for question in asked}) == 5


async def test_the_level_follows_the_player_and_points_the_level() -> None:
    quiz = Quiz(PASSAGES)
    asked = await play(quiz, [True, True, True, True, False])
    assert [question.level for question in asked] == [1, 1, 2, 2, 3]
    assert quiz.progress.level == 2
    assert (quiz.progress.asked, quiz.progress.right, quiz.progress.points) == (5, 4, 6)
    low = Quiz(PASSAGES, level=3)
    await play(low, [False, False, False])
    assert low.progress.level == 1


async def test_a_worded_question_is_used_only_when_it_passes() -> None:
    def rule(request: Request) -> str:
        text = request.messages[-1].content
        if "railway" in text:
            return "When was the first public railway opened to people?"
        if "safety lamp" in text:
            return "Which safety lamp was invented in 1815 for coal miners?"  # says its key
        return "What is the colour of the sky?"

    asked = await play(Quiz(PASSAGES, Fake(rule)), [False] * 5)
    by_passage = {question.passage: question for question in asked}
    assert by_passage["rail"].cloze is False
    assert by_passage["lamp"].cloze is True
    assert "not used" in by_passage["lamp"].steps[0].note
    assert "something else" in by_passage["moon"].steps[0].note
    assert all(check(question, PASSAGES) == "" for question in asked)


async def test_the_checker_names_what_is_wrong() -> None:
    question = await Quiz(PASSAGES).ask()
    assert question is not None
    for change, why in (
        ({"passage": "nowhere"}, "no passage"),
        ({"answer": (question.answer + 1) % 4}, "not in the sentence"),
        ({"text": f"Is it {question.key}?"}, "says its key"),
        ({"options": (question.key,) * 4, "answer": 0}, "not distinct"),
        ({"sentence": "It was never so."}, "not in the sentence"),
    ):
        assert why in check(replace(question, **change), PASSAGES)


async def test_what_cannot_be_played() -> None:
    with pytest.raises(InputError, match="no sentence"):
        Quiz({"a": "nothing here to ask for"})
    with pytest.raises(InputError, match="options"):
        Quiz(PASSAGES, options=2)
    quiz = Quiz(PASSAGES)
    question = await quiz.ask()
    assert question is not None
    with pytest.raises(InputError, match="choice 9"):
        quiz.tell(question, 9)
    assert await Quiz({"a": "It was made in 1815 by hand there."}).ask() is None  # nothing to put beside the key
