"""Public sets of tasks as environments, each opened by the folder of its data."""
