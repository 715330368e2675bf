"""Tools by name. What stands there opens one: ``open(target="", **options)`` gives a Tool or several of them.

A task or agent file writes ``calculator``, ``python:module:function``, or ``{name: ..., target: ..., option: value}``.
"""

TOOLS = {
    "mcp": "rung.agents.tools.net.mcp:open_mcp",
    "web": "rung.agents.tools.net.web:open_web",
    "index": "rung.agents.tools.index:open_index",
    "openapi": "rung.agents.tools.net.openapi:open_openapi",
    "sql": "rung.agents.tools.database.sql:open_sql",
    "calendar": "rung.agents.environments.office.tool:open_calendar",
    "calculator": "rung.agents.tools.calculator:open_calculator",
    "code": "rung.agents.tools.code:open_code",
    "files": "rung.agents.tools.files:open_files",
    "langchain": "rung.agents.tools.net.langchain:open_langchain",
    "python": "rung.agents.tools.function:open_python",
}
