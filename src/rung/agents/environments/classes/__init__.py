"""Small worlds, one for each class of agents (Russell and Norvig, ch. 2)."""
