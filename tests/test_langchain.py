"""The cheat sheet's classes, and tools and Runnables of LangChain by config."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rung.agents.tools import open_tools
from rung.core.errors import InputError, RungError
from rung.core.parts import program as programs
from rung.core.parts.place import within
from rung.core.types import ResponseFormat
from rung.langchain import Agent, LangChain, LangChainAgent, Pipeline, Task, load_pipeline
from rung.models import Pool
from rung.workflow.program import read_workflow
from rung.workflow.runnable import RunnableProgram


@pytest.fixture
def lc() -> Iterator[LangChain]:
    with LangChain(api_key="your_api_key", model="fake:echo") as opened:
        yield opened


class ChatbotAgent(Agent):
    def respond(self, message: str) -> str:
        response = self.lc.generate_response(message)
        return response


async def test_the_chatbot_of_the_sheet_responds_also_inside_an_event_loop(lc: LangChain) -> None:
    assert ChatbotAgent(lc).respond("Tell me about climate change.") == "Tell me about climate change."


def test_a_pipeline_is_a_workflow_file_too(lc: LangChain, tmp_path: Path) -> None:
    writer = LangChainAgent(lc, name="writer", instruction="Write one sentence.")
    made = Pipeline(
        [Task("Facts about {{ topic }}.", writer, "facts"), Task("Sum up.", writer, "text", ("facts",))], ["topic"]
    )
    assert "Facts about bees." in made.run(topic="bees")
    file = made.save(tmp_path / "flow.yaml")
    assert load_pipeline(file, lc).run(topic="ants") == made.run(topic="ants")
    answer = asyncio.run(read_workflow(file, Pool(default="fake:echo"))({"topic": "ants"}))
    assert answer.output == made.run(topic="ants")
    mixed = Pipeline([Task("Hello {{ name }}", ChatbotAgent(lc), "said")], ["name"])
    assert mixed.run(name="you") == "Hello you"
    with pytest.raises(InputError) as refused:
        mixed.save(tmp_path / "x.yaml")
    assert refused.value.code == "python-agent"


def test_mistakes_are_told(lc: LangChain, tmp_path: Path) -> None:
    one, two = LangChainAgent(lc, name="a", instruction="x"), LangChainAgent(lc, name="a", instruction="y")
    with pytest.raises(InputError) as twice:
        Pipeline([Task("x", one, "u"), Task("y", two, "v")]).run()
    assert twice.value.code == "name-twice"
    with pytest.raises(InputError):
        Pipeline([Task("{{ nothing }}", one, "u")]).run()
    with pytest.raises(InputError):
        Pipeline([]).run()
    (tmp_path / "f.yaml").write_text("steps: [{when: x}]")
    with pytest.raises(InputError):
        load_pipeline(tmp_path / "f.yaml", lc)
    down = LangChain(model="fake:down")
    with pytest.raises(RungError):
        ChatbotAgent(down).respond("x")
    down.close()


CHAIN = '''
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseToolkit, tool

@tool
def double(n: int) -> int:
    """Twice a number."""
    return 2 * n

@tool
def broken(n: int) -> int:
    """Never works."""
    raise ValueError("no")

class Kit(BaseToolkit):
    def get_tools(self):
        return [double, broken]

kit = Kit()
usage = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
pick = RunnableLambda(lambda text: AIMessage("card" if "card" in text else "refund", usage_metadata=usage))
join = RunnableLambda(lambda asked: {"sum": asked["a"] + asked["b"]})
number = 3
'''


@pytest.fixture
def chains(tmp_path: Path) -> Path:
    pytest.importorskip("langchain_core", reason="needs the extra langchain")
    (tmp_path / "chain.py").write_text(CHAIN)
    (tmp_path / "torn.py").write_text("1 / 0")
    return tmp_path


async def test_tools_by_config(chains: Path) -> None:
    with within(chains):
        (double,) = open_tools("langchain:chain.py:double")
        assert await double.call({"n": 21}, key="k") == "42"
        assert (double.effect, double.returns) == ("once", "untrusted")
        with pytest.raises(InputError):
            await double.call({"n": "x"}, key="k")
        _, broken = open_tools({"name": "langchain", "target": "chain.py:kit", "effect": "pure"})
        assert broken.effect == "pure"
        with pytest.raises(RungError) as failed:
            await broken.call({"n": 1}, key="k")
        assert failed.value.code == "tool-failed"
        for target in ("chain.py:number", "chain.py:nothing", "torn.py:x", "none.py:x", "chain.py"):
            with pytest.raises(InputError):
                open_tools(f"langchain:{target}")


async def test_a_runnable_is_a_program(chains: Path, tmp_path: Path) -> None:
    with within(chains):
        made = RunnableProgram("chain.py:pick", form=ResponseFormat("labels", labels=("card", "refund")))
        joined: Any = RunnableProgram("chain.py:join", ("a", "b"), form=ResponseFormat("json"))
        wrong = RunnableProgram("chain.py:number")
    answer = await made({"text": "my card"})
    assert (answer.output, answer.usage.prompt_tokens) == ("card", 3)
    assert (await joined({"a": "x", "b": "y"})).output == {"sum": "xy"}
    failed = await joined({"a": "x"})
    assert failed.failure is not None
    with pytest.raises(InputError):
        wrong.runnable  # noqa: B018
    folder = programs.save(made, tmp_path / "out")
    assert (folder / "chain.py").is_file()
    opened = programs.load(folder, Pool(default="fake:echo"))
    assert (await opened({"text": "money"})).output == "refund"
    assert programs.fingerprint(opened) == programs.fingerprint(made)
    assert json.loads((folder / "program.json").read_text())["kind"] == "langchain"
