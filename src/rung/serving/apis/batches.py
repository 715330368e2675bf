"""/v1/batches: a file of requests, worked off beside those of people who wait.

Each line's answer is in the store before the next thing happens, so that a batch whose process was killed goes on by another one
with the lines that are not there yet. Output and error file are put together from the store, in the order of the lines.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("rung.serving")

SHARE = 0.75
"""Of the places at work that batches may have: the rest is kept for people who wait."""

LOOK = 2.0
"""Seconds between two looks for batches that nobody works on."""

TRIES = 3
"""How often a line is asked when the fault is not its own."""
