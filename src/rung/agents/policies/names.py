"""Policies by name: classes whose fields are their options."""

POLICIES = {
    "reflex": "rung.agents.policies.classes.reflex:Reflex",
    "model_based": "rung.agents.policies.classes.model_based:ModelBased",
    "goal": "rung.agents.policies.classes.goal:Goal",
    "utility": "rung.agents.policies.classes.utility:Utility",
    "learning": "rung.agents.policies.classes.learning:QLearning",
    "scripted": "rung.agents.policies.given.scripted:Scripted",
    "noisy": "rung.agents.policies.given.noisy:Noisy",
    "llm": "rung.agents.policies.llm:Llm",
    "hijacked": "rung.agents.policies.given.hijacked:Hijacked",
    "lexical": "rung.agents.policies.given.lexical:Lexical",
    "research": "rung.agents.policies.given.research:Research",
    "repair": "rung.agents.policies.given.repair:Repair",
    "recalled": "rung.agents.policies.given.recalled:Recalled",
    "plan_execute": "rung.agents.policies.planning.plan_execute:PlanExecute",
    "self_prompting": "rung.agents.policies.planning.self_prompting:SelfPrompting",
    "task_list": "rung.agents.policies.planning.task_list:TaskList",
    "coordinator": "rung.agents.policies.planning.coordinator:Coordinator",
    "reviewed": "rung.agents.policies.planning.critic:Reviewed",
    "router": "rung.agents.policies.planning.router:Router",
}
