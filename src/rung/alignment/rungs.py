"""Rungs and metrics of this room, by name. What the rungs make are prompt programs over aligned weights."""

RUNGS = {
    "reinforce": "rung.alignment.rung:REINFORCE",
    "rloo": "rung.alignment.rung:RLOO",
    "grpo": "rung.alignment.rung:GRPO",
    "ppo": "rung.alignment.rung:PPO",
    "trpo": "rung.alignment.rung:TRPO",
    "dpo": "rung.alignment.rung:DPO",
}

PROGRAMS: dict[str, str] = {}

METRICS: dict[str, str] = {
    "reward-model": "rung.alignment.rewards.model:open_reward_model",
}
