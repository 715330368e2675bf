"""``python -m rung``: what launchers such as torchrun start."""

from __future__ import annotations

from rung.cli.main import main

main()
