"""How an agent decides. ``shelf`` lists the policies by name."""
