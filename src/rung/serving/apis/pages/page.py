"""Pages for people: one file each, whose own script and style alone may run."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

SAFE = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@cache
def read_page(name: str) -> tuple[bytes, dict[str, str]]:
    """A page and its headers: only its own script and style run, named by their hashes, and it talks to this server
    alone."""
    text = (files("rung.serving.apis.pages") / name).read_text(encoding="utf-8")
    policy = ["default-src 'none'", "connect-src 'self'", "img-src data:"]
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        found = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert found is not None
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        policy.append(f"{directive} 'sha256-{digest}'")
    policy += ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    headers = {**SAFE, "content-security-policy": "; ".join(policy), "referrer-policy": "no-referrer"}
    return text.encode(), headers
