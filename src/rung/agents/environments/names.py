"""Environments by name; a class whose options are keyword arguments."""

ENVIRONMENTS = {
    "gridworld": "rung.agents.environments.gridworld:Gridworld",
    "thermostat": "rung.agents.environments.thermostat:Thermostat",
    "lotteries": "rung.agents.environments.lotteries:Lotteries",
    "queue": "rung.agents.environments.queue:Queue",
    "tau-retail": "rung.agents.environments.retail.retail:TauRetail",
}
