"""How an agent decides. ``names`` lists the policies by name."""
