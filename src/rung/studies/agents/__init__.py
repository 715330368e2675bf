"""Studies of agents and of their parts."""
