"""A Runnable of LangChain as a program: climbed beside prompts, exported with its file, served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from rung.agents.tools.function import load_attribute
from rung.core.codec import decode, encode, spell
from rung.core.errors import InputError
from rung.core.parts.place import here, within
from rung.core.protocols import Context, Model, Resources, Traits
from rung.core.system.extras import require
from rung.core.text.reply import read_reply
from rung.core.types import Answer, Failure, Input, ResponseFormat, Task, Usage


@dataclass(eq=False)
class RunnableProgram:
    """``target`` is ``FILE.py:NAME`` or ``MODULE:NAME``. An input of one field is given as its text, of several as a
    dict by field. What comes out is read as ``form``: a text, a message's content, or any value. What a model inside it
    used counts where it says so (``usage_metadata``); its price is not known here."""

    kind: ClassVar[str] = "langchain"

    target: str
    fields: tuple[str, ...] = ("text",)
    _: KW_ONLY
    form: ResponseFormat = field(default_factory=ResponseFormat)
    place: Path = field(default_factory=lambda: here().folder or Path(), repr=False)

    @property
    def model(self) -> Model | None:
        return None

    @cached_property
    def runnable(self) -> Any:
        """Raises InputError for what is no Runnable, MissingExtra."""
        require("langchain_core", "langchain", "a Runnable of LangChain")
        from langchain_core.runnables import Runnable

        with within(self.place, here().store):
            found = load_attribute(self.target, "langchain")
        if not isinstance(found, Runnable):
            raise InputError(
                f"{self.target} is a {type(found).__name__}, expected a Runnable",
                remedy="wrap a function: from langchain_core.runnables import RunnableLambda",
                code="langchain",
            )
        return found

    def spec(self) -> dict[str, Any]:
        return {"target": self.target, "options": {"fields": list(self.fields)}, "form": encode(self.form)}

    def files(self) -> Mapping[str, Path | bytes]:
        file = self.target.rpartition(":")[0]
        own = file.endswith(".py") and not Path(file).is_absolute() and ".." not in Path(file).parts
        return {file: self.place / file} if own else {}

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> Self:
        form = decode(ResponseFormat, spec.get("form") or {})
        return cls(str(spec["target"]), tuple(spec["options"]["fields"]), form=form, place=folder)

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        asked: Any = input if isinstance(input, str) else dict(input)
        if isinstance(asked, dict) and len(self.fields) == 1:
            asked = asked[self.fields[0]]
        try:
            value = await self.runnable.ainvoke(asked)
        except Exception as error:  # whatever somebody's chain raises
            return Answer(None, failure=Failure("program", f"{type(error).__name__}: {error}", "langchain"))
        usage = _usage(value)
        value = getattr(value, "content", value)
        raw = spell(value)
        if self.form.closed and isinstance(value, str):
            value, complaint = read_reply(self.form, value)
            return Answer(value, raw, usage=usage, failure=Failure("parse", complaint) if complaint else None)
        return Answer(raw if self.form.kind == "text" else value, raw, usage=usage)


def _usage(value: Any) -> Usage:
    said = getattr(value, "usage_metadata", None)
    if not isinstance(said, Mapping):
        return Usage()
    return Usage(
        calls=1, prompt_tokens=int(said.get("input_tokens", 0)), completion_tokens=int(said.get("output_tokens", 0))
    )


@dataclass(frozen=True)
class RunnableRung:
    """A Runnable beside the task: ``langchain: {target: chain.py:chain}``. It gets the text of the task's field, of
    several fields a dict."""

    traits: ClassVar[Traits] = Traits(uses_model=False, optional=True)

    target: str = ""

    def obstacle(self, task: Task, resources: Resources) -> str:
        if not self.target:
            return "no Runnable is named: write - langchain: {target: chain.py:chain}"
        try:
            self._program(task).runnable  # noqa: B018 - opened here, so that a mistake in it is told before anything is asked
        except InputError as error:
            return error.message
        return ""

    def _program(self, task: Task) -> RunnableProgram:
        return RunnableProgram(self.target, tuple(task.fields), form=task.form)

    async def fit(self, task: Task, context: Context) -> RunnableProgram:
        return self._program(task)
