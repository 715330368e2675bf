"""Methods that learn from what they did, by name."""

from __future__ import annotations

from rung.alignment.methods.grpo import Grpo
from rung.alignment.methods.method import AlignMethod
from rung.alignment.methods.ppo import Ppo
from rung.alignment.methods.reinforce import Reinforce
from rung.alignment.methods.rloo import Rloo
from rung.alignment.methods.trpo import Trpo

METHODS: dict[str, type[AlignMethod]] = {kind.name: kind for kind in (Reinforce, Rloo, Grpo, Ppo, Trpo)}
