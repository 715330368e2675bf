"""Running code that nobody vouches for: outside this process, without network, within a quota.

Two tiers behind one protocol. ``monty`` is an interpreter of a part of Python, in a process of its own: it starts in a
fraction of a millisecond and has no operating system to reach. ``bubblewrap`` is CPython in Linux namespaces, under a
system-call filter of our own. Code is never run in this process: where neither tier is there, it is refused. (Templates
have a sandbox of their own: ``foundations.sandbox``.)
"""

from __future__ import annotations

from rung.sandbox.gate import open_sandbox
from rung.sandbox.outcome import CodeSandbox, Ended, Outcome, Quota

__all__ = ["CodeSandbox", "Ended", "Outcome", "Quota", "open_sandbox"]
