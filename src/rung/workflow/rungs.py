"""Workflows as rungs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rung.core.errors import InputError
from rung.core.parts.place import here
from rung.core.protocols import Context, Resources, Traits
from rung.core.types import Task
from rung.workflow.program import WorkflowProgram, read_workflow

RUNGS = {
    "workflow": "rung.workflow.rungs:WorkflowRung",
    "langchain": "rung.workflow.runnable:RunnableRung",
}
PROGRAMS = {
    "workflow": "rung.workflow.program:WorkflowProgram",
    "langchain": "rung.workflow.runnable:RunnableProgram",
}


@dataclass(frozen=True)
class WorkflowRung:
    """A workflow file beside the task: ``workflow: {file: flow.yaml}``. Its inputs are fields of the task's
    examples."""

    traits: ClassVar[Traits] = Traits(uses_model=False, optional=True)

    file: str = ""

    def obstacle(self, task: Task, resources: Resources) -> str:
        if not self.file:
            return "no workflow is named: write - workflow: {file: flow.yaml}"
        try:
            needed = read_workflow(here().path(self.file), resources).needed
        except InputError as error:
            return error.message
        missing = [name for name in needed if name not in task.fields]
        return f"the workflow needs {missing[0]!r}, which is no field of the task" if missing else ""

    async def fit(self, task: Task, context: Context) -> WorkflowProgram:
        made = read_workflow(here().path(self.file), context.resources)
        return replace(made, form=task.form)
