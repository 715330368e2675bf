from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import FitError
from rung.core.parts import program as programs
from rung.core.parts import registry
from rung.core.parts.meter import metered
from rung.core.parts.program import file_hash
from rung.core.protocols import Context, Embedder, Model
from rung.core.settings import Settings
from rung.core.types import Capabilities, Example, Progress, ResponseFormat, Task
from rung.models.providers.fake import open_model
from rung.prompts.program import PromptProgram
from rung.prompts.template.prompt import Prompt
from rung.tuning.batches import Chat
from rung.tuning.trainer.state import Mark, Trained
from rung.tuning.tune import LORA_F16, LORA_Q8, Tune, converse, course
from rung.tuning.weights import Base
from tests.tuning.conftest import TEXTS


class Weights:
    """Stands for the embedded engine: a model that is only its file."""

    capabilities = Capabilities(score=True)

    def __init__(self, name: str) -> None:
        self.name = name
        self.fingerprint = file_hash(Path(name.partition(":")[2]))


class Shelf:
    def __init__(self, default: Path) -> None:
        self.default = f"openvino:{default}"
        self.asked: list[str] = []

    def model(self, name: str | None = None) -> Model:
        self.asked.append(name or self.default)
        return Weights(name or self.default)  # type: ignore[return-value]

    def embedder(self, name: str | None = None) -> Embedder:
        raise AssertionError("no embedder is needed")


def examples(low: int, high: int) -> tuple[Example, ...]:
    return tuple(
        Example(f"e{index}", {"text": text}, label) for index, (label, text) in list(enumerate(TEXTS))[low:high]
    )


def colours() -> Task:
    return Task(
        name="colours",
        instruction="Name the colour.",
        form=ResponseFormat("labels", ("red", "green", "blue")),
        fields=("text",),
        train=examples(0, 6),
        dev=examples(6, 8),
        test=(),
        metrics=("accuracy",),
        hash="h",
    )


@pytest.fixture
def task() -> Task:
    return colours()


def context(shelf: Shelf, folder: Path, seen: list[Progress]) -> Context:
    async def evaluate(program: Any, items: Sequence[Example]) -> list[Any]:
        raise AssertionError("early stopping is by loss")

    return Context(shelf, folder, evaluate, 0, seen.append)


SMALL = Tune(upper=1.0, rank=4, rate=5e-3, epochs=2, batch=4)


@pytest.mark.slow
async def test_two_exports_share_one_training(tiny: Base, task: Task, tmp_path: Path) -> None:
    assert tiny.gguf is not None
    shelf, seen = Shelf(tiny.gguf), []  # type: tuple[Shelf, list[Progress]]
    assert SMALL.obstacle(task, shelf) == ""
    with metered() as meter:
        first = await SMALL.fit(task, context(shelf, tmp_path / "f16", seen))
    steps = [item for item in seen if item.stage == "train"]
    assert len(steps) == 4
    assert meter.total.prompt_tokens == steps[-1].usage.prompt_tokens > 0
    assert meter.total.cpu_seconds > 0
    seen.clear()
    with metered() as second_meter:
        second = await replace(SMALL, export="q8").fit(task, context(shelf, tmp_path / "q8", seen))
    assert not [item for item in seen if item.stage in ("train", "pre-flight")]
    assert second_meter.total.prompt_tokens == meter.total.prompt_tokens  # what the program cost, whoever paid
    assert first.weights is not None
    assert second.weights is not None
    assert first.weights.parent == second.weights.parent
    assert first.weights.stat().st_size > second.weights.stat().st_size
    assert "passed  mask" in (first.weights.parent / "preflight.txt").read_text()
    # Asked again, with its file gone or damaged: written anew from the adapter, the same bytes.
    before = file_hash(second.weights)
    second.weights.write_bytes(b"GGUF but broken")
    third = await replace(SMALL, export="q8").fit(task, context(shelf, tmp_path / "q8", seen))
    assert third.weights is not None
    assert file_hash(third.weights) == before


async def test_program_carries_its_weights(tiny: Base, task: Task, tmp_path: Path) -> None:
    assert tiny.gguf is not None
    shelf = Shelf(tiny.gguf)
    made = await replace(SMALL, epochs=1).fit(task, context(shelf, tmp_path / "fit", []))
    folder = programs.save(made, tmp_path / "exported")
    document = json.loads((folder / "program.json").read_text())
    assert str(tmp_path) not in json.dumps(document["spec"])
    moved = folder.rename(tmp_path / "carried")
    loaded = programs.load(moved, shelf)
    assert isinstance(loaded, PromptProgram)
    assert shelf.asked[-1] == f"openvino:{moved / 'tuned-f16.gguf'}"
    assert programs.fingerprint(loaded) == programs.fingerprint(made)
    assert loaded.messages("a rose") == made.messages("a rose")
    # Short: the labels are in the weights, not in the prompt; what was trained is what is sent.
    assert [message.content for message in loaded.messages("a rose")] == ["Name the colour.", "a rose"]
    chat = Chat(tiny)
    assert isinstance(made.prompt, Prompt)
    (id, talk), *_ = converse(made.prompt, task.train)
    (row,) = chat.rows(id, talk)
    assert list(row.ids[: row.start]) == chat.prompt(made.messages(task.train[0].input))


async def test_full_instruction_lists_the_labels(task: Task) -> None:

    talk = converse(Prompt.of(task), task.train)[0][1]
    assert "red, green, blue" in talk[0].content
    assert talk[-1].content == "red"


@pytest.mark.slow
async def test_cancelled_fit_goes_on_later(tiny: Base, task: Task, tmp_path: Path) -> None:
    assert tiny.gguf is not None
    shelf, reached = Shelf(tiny.gguf), asyncio.Event()
    loop = asyncio.get_running_loop()
    seen: list[Progress] = []

    def watch(item: Progress) -> None:
        seen.append(item)
        if item.stage == "train" and item.done == 3:
            loop.call_soon_threadsafe(reached.set)

    rung = replace(SMALL, epochs=40, patience=0)
    work = asyncio.create_task(rung.fit(task, replace(context(shelf, tmp_path / "a", []), progress=watch)))
    await reached.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    done = max(item.done for item in seen if item.stage == "train")
    assert done < 80
    seen.clear()
    await rung.fit(task, replace(context(shelf, tmp_path / "a", []), progress=watch))
    assert min(item.done for item in seen if item.stage == "train") == done + 1
    assert not [item for item in seen if item.stage == "pre-flight"]


def test_why_it_does_not_fit(tiny: Base, task: Task) -> None:
    assert tiny.gguf is not None
    shelf = Shelf(tiny.gguf)
    assert "no train split" in SMALL.obstacle(replace(task, train=()), shelf)
    one = tuple(replace(example, reference="red") for example in task.train)
    assert "the same answer" in SMALL.obstacle(replace(task, train=one), shelf)
    hosted = Shelf(tiny.gguf)
    hosted.default = "fake:echo"
    hosted.model = lambda name=None: open_model("echo", Settings())  # type: ignore[method-assign]
    assert "only models of the embedded engine" in SMALL.obstacle(task, hosted)


async def test_rows_too_long_for_the_window(tiny: Base, task: Task, tmp_path: Path) -> None:
    assert tiny.gguf is not None
    long = tuple(replace(example, input={"text": "long " * 300}) for example in task.train)
    with pytest.raises(FitError, match="longer than the window of 512 tokens"):
        await SMALL.fit(replace(task, train=long), context(Shelf(tiny.gguf), tmp_path / "x", []))


def test_registered() -> None:
    assert registry.load("rung", "lora-f16") is LORA_F16
    assert registry.load("rung", "lora-q8") is LORA_Q8
    assert LORA_F16.recipe(0) == LORA_Q8.recipe(0)
    with pytest.raises(ValueError, match="expected f16 or q8 or q4"):
        Tune(export="q5")
    with pytest.raises(ValueError, match="expected lora or qlora"):
        Tune(method="magic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        Tune(rank=0)
    assert Tune(export="q4").kind == "q4"


def test_the_course_of_a_long_training_is_thinned() -> None:
    trained = Trained(step=1001, total=2000, losses=tuple(1 / (n + 1) for n in range(1001)), checks=(Mark(500, 0.5),))
    found = course(trained)
    assert len(found.train) == 167
    assert found.train[-1].step == 1001
    assert found.train[0].loss == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5 + 1 / 6) / 6)
    assert [mark.loss for mark in found.dev] == [0.5]
