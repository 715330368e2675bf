"""Run a workflow: each step as soon as what it reads is there, those that wait for nothing of one another side by
side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

from rung.core.codec import spell
from rung.core.errors import BudgetExceeded, InputError, RungError, StoreError
from rung.core.protocols import Program, Tool
from rung.core.text.schema import offence
from rung.core.types import Answer
from rung.foundations.sandbox import render
from rung.teams.consensus.tally import tally
from rung.workflow.definition import Flow, FlowReader, FlowStep, expression, needs
from rung.workflow.log import FlowLog, Halted, StepFailed

ITEMS = 10_000
"""Of one list at most."""
PLANS = 3
"""Workflows that a coordinator may write until one can be done."""

_WRITE = (
    '{request}\n\nWrite a workflow as JSON: {{"steps": [{{"agent": NAME, "task": WORDS, "inputs": [names of earlier outputs], '
    '"output": NAME}}]}}. Agents: {agents}. The last output is the answer.{again}'
)


class FlowRun:
    """One run. Names are bound once; what is bound is the steps' outputs."""

    def __init__(self, flow: Flow, agents: Mapping[str, Program], tools: Mapping[str, Tool], log: FlowLog) -> None:
        self.flow, self.agents, self.tools, self.log = flow, agents, tools, log

    async def run(self, inputs: Mapping[str, Any]) -> Any:
        """The outputs: the one value, or a mapping of several. Raises StepFailed, Halted, StoreError,
        BudgetExceeded."""
        steps, outputs = self.flow.steps, self.flow.outputs
        if self.flow.coordinator and not steps:
            steps = await self._written(inputs)
            outputs = outputs or steps[-1].writes[-1:]
        names = {**inputs, **await self.scope(steps, inputs, "")}
        missing = [name for name in outputs if name not in names]
        if missing:
            raise StepFailed(f"no step has written the output {missing[0]!r}")
        return names[outputs[0]] if len(outputs) == 1 else {name: names[name] for name in outputs}

    async def scope(self, steps: Sequence[FlowStep], known: Mapping[str, Any], path: str) -> dict[str, Any]:
        """What the steps of a list write."""
        places = {step.name: at for at, step in enumerate(steps)}
        writers = {name: at for at, step in enumerate(steps) for name in step.writes}
        order = TopologicalSorter(needs(steps, known))
        order.prepare()
        wrote: dict[str, Any] = {}
        running: dict[asyncio.Task[dict[str, Any]], str] = {}
        free = asyncio.Semaphore(self.flow.together)
        try:
            while order.is_active():
                for name in order.get_ready():
                    at = places[name]
                    step = steps[at]
                    seen = {key: value for key, value in wrote.items() if key not in known or writers[key] < at}
                    work = self._step(step, {**known, **seen}, f"{path}{name}")
                    running[asyncio.create_task(self._held(work, None if step.parts else free))] = name
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    wrote |= await task
                    order.done(running.pop(task))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return wrote

    @staticmethod
    async def _held(work: Coroutine[Any, Any, dict[str, Any]], free: asyncio.Semaphore | None) -> dict[str, Any]:
        if free is None:  # it waits for steps of its own, which hold it
            return await work
        async with free:
            return await work

    async def _step(self, step: FlowStep, names: Mapping[str, Any], path: str) -> dict[str, Any]:
        given = step.given
        try:
            if step.kind == "when":
                return await self._branch(step, names, path)
            if step.kind == "repeat":
                return await self._loop(step, names, path)
            if step.kind == "each":
                value = await self._map(step, names, path)
            else:
                value = await self._tried(step, names, path)
        except StepFailed:
            if "otherwise" not in given:
                raise
            value = evaluate(given["otherwise"], names, path)
        return dict.fromkeys(step.writes, value) if step.writes else {}

    async def _tried(self, step: FlowStep, names: Mapping[str, Any], path: str) -> Any:
        """A step that asks or calls, again where it fails: ``retry`` times."""
        attempts = int(step.given.get("retry", 0)) + 1
        for attempt in range(attempts):
            try:
                return await self._leaf(step, names, path if not attempt else f"{path}!{attempt}", attempt)
            except StepFailed:
                if attempt + 1 == attempts:
                    raise
        raise AssertionError

    async def _leaf(self, step: FlowStep, names: Mapping[str, Any], path: str, attempt: int) -> Any:
        given = step.given
        if step.kind == "value":
            return evaluate(given["value"], names, path)
        if step.kind == "tool":
            return await self._call(given, names, path)
        said = request(given, names, path)
        if step.kind == "agent":
            return await self._ask(given["agent"], said, path, attempt)
        asked = (self._ask(name, said, f"{path}/{name}", attempt) for name in given["vote"])
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for one in answers:
            if isinstance(one, BaseException) and not isinstance(one, StepFailed):
                raise one
        votes = {
            name: None if isinstance(one, BaseException) else one
            for name, one in zip(given["vote"], answers, strict=True)
        }
        found = tally(
            votes, given.get("by", "majority"), weights=given.get("weights"), quorum=int(given.get("quorum", 0))
        )
        if found.value is None:
            raise StepFailed(f"step {path}: the members do not agree: {spell(votes)[:300]}")
        return found.value

    async def _ask(self, name: str, said: Any, path: str, attempt: int) -> Any:
        async def make(key: str) -> Any:
            try:
                answer: Answer = await self.agents[name](said, repeat=attempt)
            except (StoreError, BudgetExceeded, Halted):
                raise
            except RungError as error:
                raise StepFailed(error.message) from error
            if answer.failure is None:
                return answer.output
            if answer.failure.where == "waiting":
                raise Halted(f"{name} waits: {answer.failure.message}", "wait")
            raise StepFailed(answer.failure.message)

        return await self.log.once(path, {"agent": name, "request": said}, make)

    async def _call(self, given: Mapping[str, Any], names: Mapping[str, Any], path: str) -> Any:
        tool = self.tools[given["tool"]]
        arguments = fill(given.get("arguments") or {}, names, path)
        wrong = offence(tool.schema, arguments)
        if wrong is not None:
            raise StepFailed(f"step {path}: {'.'.join(map(str, wrong.path)) or 'arguments'}: {wrong.message}")

        async def make(key: str) -> Any:
            try:
                return await tool.call(arguments, key=key)
            except (StoreError, BudgetExceeded):
                raise
            except RungError as error:
                raise StepFailed(error.message) from error
            except Exception as error:  # a defect of somebody's tool
                raise StepFailed(f"{tool.name} failed: {type(error).__name__}: {error}") from error

        return await self.log.once(path, {"tool": tool.name, **arguments}, make, effect=tool.effect)

    async def _branch(self, step: FlowStep, names: Mapping[str, Any], path: str) -> dict[str, Any]:
        arm = "then" if evaluate(step.given["when"], names, path) else "else"
        wrote = await self.scope(step.parts[arm], names, f"{path}/{arm}/") if arm in step.parts else {}
        return {name: wrote[name] for name in step.writes if name in wrote}

    async def _loop(self, step: FlowStep, names: Mapping[str, Any], path: str) -> dict[str, Any]:
        carried = {name: evaluate(begin, names, path) for name, begin in (step.given.get("carry") or {}).items()}
        wrote: dict[str, Any] = {}
        for number in range(int(step.given.get("most", 100))):
            wrote = await self.scope(step.parts["repeat"], {**names, **carried}, f"{path}#{number + 1}/")
            carried |= {name: wrote[name] for name in carried if name in wrote}
            if "until" in step.given and evaluate(step.given["until"], {**names, **carried, **wrote}, path):
                break
        return {**wrote, **carried}

    async def _map(self, step: FlowStep, names: Mapping[str, Any], path: str) -> list[Any]:
        items = evaluate(step.given["each"], names, path)
        if not isinstance(items, list) or len(items) > ITEMS:
            what = f"{len(items):,} items" if isinstance(items, list) else f"a {type(items).__name__}"
            raise StepFailed(f"step {path}: each of {what}: expected a list of at most {ITEMS:,}")
        name, part = str(step.given.get("as") or "item"), step.parts["do"]
        wanted = step.given.get("collect") or part[-1].writes[-1]
        free = asyncio.Semaphore(int(step.given.get("together", self.flow.together)))

        async def one(at: int, item: Any) -> Any:
            async with free:
                return (await self.scope(part, {**names, name: item}, f"{path}[{at + 1}]/"))[wanted]

        tasks = [asyncio.create_task(one(at, item)) for at, item in enumerate(items)]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _written(self, inputs: Mapping[str, Any]) -> tuple[FlowStep, ...]:
        """The steps that the coordinator writes; what is wrong with them is told to it, a few times."""
        agents = [name for name in self.agents if name != self.flow.coordinator]
        again = ""
        said = "\n".join(f"{name}: {spell(value)}" for name, value in inputs.items())
        for number in range(PLANS):
            asked = _WRITE.format(request=said, agents=", ".join(agents), again=again)
            text = await self._ask(self.flow.coordinator, asked, f"coordinator{number or ''}", number)
            reader = FlowReader(agents, ())
            flow = reader.flow(
                {"inputs": list(inputs), "steps": _steps_of(text), "outputs": list(self.flow.outputs) or None}
            )
            wrong = [one for one in reader.problems.found if one.level == "error" and one.code != "unused-input"]
            if not wrong:
                return flow.steps
            again = f"\nThe last one cannot be done: {'; '.join(one.message for one in wrong[:3])}."
        raise StepFailed(f"{self.flow.coordinator} wrote no workflow that can be done:{again.partition(':')[2]}")


def _steps_of(text: Any) -> Any:
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return None
    return value.get("steps") if isinstance(value, dict) else value


def evaluate(text: Any, names: Mapping[str, Any], path: str) -> Any:
    """The value of an expression. Raises StepFailed where it has none."""
    try:
        return json.loads(render(expression(text), names))
    except InputError as error:
        raise StepFailed(f"step {path}: {error.message.removeprefix('template: ')} in {str(text)[:80]!r}") from error


def fill(given: Any, names: Mapping[str, Any], path: str) -> Any:
    """Arguments with their templates filled in; a text that is one expression keeps its value's type."""
    if isinstance(given, Mapping):
        return {key: fill(value, names, path) for key, value in given.items()}
    if isinstance(given, list):
        return [fill(value, names, path) for value in given]
    if not isinstance(given, str):
        return given
    inner = given.strip()
    if inner.startswith("{{") and inner.endswith("}}") and inner.count("{{") == 1:
        return evaluate(inner[2:-2], names, path)
    return written(given, names, path)


def written(template: str, names: Mapping[str, Any], path: str) -> str:
    """A template's text. Raises StepFailed where a value is missing."""
    try:
        return render(template, names)
    except InputError as error:
        raise StepFailed(f"step {path}: {error.message}") from error


def request(given: Mapping[str, Any], names: Mapping[str, Any], path: str) -> Any:
    """What an agent is asked: its task, and the inputs under their names; fields, where the task is a mapping of
    them."""
    task = given.get("task") or ""
    if isinstance(task, Mapping):
        return {str(field): spell(fill(text, names, path)) for field, text in task.items()}
    inputs = given.get("inputs") or []
    lines = [f"{name}: {spell(names[name])}" for name in ([inputs] if isinstance(inputs, str) else inputs)]
    return "\n\n".join(part for part in (written(str(task), names, path), "\n".join(lines)) if part)
