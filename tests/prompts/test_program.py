from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.types import Example, Message, Reply, Request, ResponseFormat, Sampling
from rung.models import Pool
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.patterns.checking.verify import VerifiedProgram
from rung.prompts.program import Options, PromptProgram, Reasoning
from rung.prompts.select import Kind, Selector
from rung.prompts.template.prompt import Prompt

LABELS = ResponseFormat("labels", labels=("yes", "no"))
POOL = [
    Example(str(i), {"text": f"example number {i} about {w}"}, "yes") for i, w in enumerate(["cats", "dogs", "tea"])
]


async def test_the_messages_in_the_answer_are_those_that_were_sent() -> None:
    model = Fake()
    program = PromptProgram(Prompt("Say yes or no."), model, Options(LABELS), Selector("knn", 1, POOL))
    answer = await program("no dogs")
    assert answer.output == "no"
    sent = model.calls[0]
    assert answer.steps[0].messages == sent.messages == program.messages("no dogs")
    assert "dogs" in sent.messages[1].content


async def test_reasoning_is_a_call_of_its_own_and_is_not_scored() -> None:
    def rule(request: Request) -> str:
        return "no, it is 41" if "Think" in request.messages[-1].content else "42"

    program = PromptProgram(Prompt("Add."), Fake(rule), Options(ResponseFormat("number"), reasoning=Reasoning()))
    answer = await program("40 + 2")
    assert answer.output == "42"
    assert [step.name for step in answer.steps] == ["reason", "answer"]
    assert answer.steps[1].messages[-2] == Message("assistant", "no, it is 41")


async def test_votes_take_the_majority_with_seeds_of_their_own() -> None:
    def rule(request: Request) -> str:
        if "Think" in request.messages[-1].content:
            return f"chain {request.sampling.seed}"
        return "7" if request.messages[-2].content in ("chain 0", "chain 2") else "9"

    program = PromptProgram(Prompt("Add."), Fake(rule), Options(ResponseFormat("number"), reasoning=Reasoning(votes=3)))
    answer = await program("3 + 4")
    assert answer.output == "7"
    assert answer.confidence == pytest.approx(2 / 3)
    assert answer.usage.calls == 6


async def test_a_repeat_has_another_seed() -> None:
    model = Fake()
    program = PromptProgram(Prompt("Say."), model, Options(ResponseFormat(), sampling=Sampling(temperature=1.0)))
    await program("x")
    await program("x", repeat=3)
    first, second = (call for call in model.calls if isinstance(call, Request))
    assert (first.sampling.seed, second.sampling.seed) == (0, 3)
    assert (first.repeat, second.repeat) == (0, 3)


async def test_too_long_a_prompt_fails_or_is_cut_as_the_task_says() -> None:
    small = Fake(capabilities=replace(CAPABILITIES, context=60))
    options = Options(ResponseFormat(), sampling=Sampling(max_tokens=10))
    long = " ".join(["word"] * 300)
    failed = await PromptProgram(Prompt("Repeat."), small, options)(long)
    assert failed.failure is not None
    assert failed.failure.where == "overflow"
    cut = await PromptProgram(Prompt("Repeat."), small, replace(options, overflow="truncate"))(long)
    assert cut.failure is None
    assert small.count(cut.steps[0].messages) <= 50


async def test_truncation_drops_examples_before_the_input() -> None:
    small = Fake(capabilities=replace(CAPABILITIES, context=60))
    options = Options(ResponseFormat(), sampling=Sampling(max_tokens=10), overflow="truncate")
    pool = [Example(str(i), {"text": f"{i} " + "filler " * 15}, "fine") for i in range(4)]
    answer = await PromptProgram(Prompt("Repeat."), small, options, Selector("knn", 4, pool))("2 filler and the input")
    assert answer.failure is None
    assert answer.steps[0].messages[-1].content == "2 filler and the input"
    assert len(answer.steps[0].messages) < 10


@pytest.mark.parametrize("kind", get_args(Kind))
async def test_saved_and_loaded_it_sends_the_same_messages(kind: Kind, tmp_path: Path) -> None:
    pool = Pool(default="fake:echo")
    selector = Selector(kind, 2, POOL, seed=3)
    program = PromptProgram(Prompt("Say yes or no."), pool.model(), Options(LABELS), selector)
    programs.save(program, tmp_path / "p")
    loaded = programs.load(tmp_path / "p", pool)
    assert isinstance(loaded, PromptProgram)
    assert loaded.messages("tea or dogs") == program.messages("tea or dogs")
    assert (await loaded("no tea")).output == (await program("no tea")).output == "no"
    assert programs.fingerprint(loaded) == programs.fingerprint(program)


async def test_programs_in_one_folder_keep_their_own_pools(tmp_path: Path) -> None:
    pool = Pool(default="fake:echo")
    inner = PromptProgram(Prompt("Say."), pool.model(), Options(LABELS), Selector("knn", 2, POOL))
    program = VerifiedProgram(inner, pool.model(), ("text",), passages={"tea": "Tea is hot.", "dog": "Dogs bark."})
    folder = programs.save(program, tmp_path / "p")
    assert sorted(path.name.partition("-")[0] for path in folder.iterdir()) == ["passages", "pool", "program.json"]
    assert (folder / "program.json").stat().st_size < 3000
    loaded = programs.load(folder, pool)
    assert isinstance(loaded, VerifiedProgram)
    assert loaded.passages == program.passages
    assert isinstance(loaded.inner, PromptProgram)
    assert loaded.inner.messages("tea or dogs") == inner.messages("tea or dogs")
    assert programs.fingerprint(loaded) == programs.fingerprint(program)
    for path in folder.glob("pool-*"):
        path.write_bytes(path.read_bytes().replace(b"tea", b"sea"))
    with pytest.raises(InputError, match="missing or damaged"):
        programs.load(folder, pool)


async def test_forecast_counts_what_is_then_used() -> None:
    program = PromptProgram(Prompt("Say."), Fake(lambda _: Reply("a b c")), Options(ResponseFormat("number")))
    usage, messages = program.forecast("one two")
    answer = await program("one two")
    assert usage.prompt_tokens == answer.usage.prompt_tokens
    assert messages == answer.steps[0].messages
