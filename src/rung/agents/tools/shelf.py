"""Tools by name. What stands there opens one: ``open(target="", **options)`` gives a Tool or several of them.

A task or agent file writes ``calculator``, ``python:module:function``, or ``{name: ..., target: ..., option: value}``.
"""

TOOLS = {
    "python": "rung.agents.tools.function:open_python",
}
