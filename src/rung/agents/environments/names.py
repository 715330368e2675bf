"""Environments by name; a class whose options are keyword arguments."""

ENVIRONMENTS = {
    "gridworld": "rung.agents.environments.classes.gridworld:Gridworld",
    "thermostat": "rung.agents.environments.classes.thermostat:Thermostat",
    "lotteries": "rung.agents.environments.classes.lotteries:Lotteries",
    "queue": "rung.agents.environments.classes.queue:Queue",
    "code": "rung.agents.environments.code.world:CodeTasks",
    "code-repair": "rung.agents.environments.code.world:CodeRepair",
    "desk": "rung.agents.environments.desk.desk:SupportDesk",
    "office": "rung.agents.environments.office.world:Office",
    "desk-intake": "rung.agents.environments.desk.intake:DeskIntake",
    "bfcl": "rung.agents.environments.benchmarks.leaderboard:Leaderboard",
    "text-to-sql": "rung.agents.environments.benchmarks.questions:TextToSql",
    "tau-retail": "rung.agents.environments.benchmarks.retail.retail:TauRetail",
}
