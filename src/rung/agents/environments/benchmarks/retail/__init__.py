"""The retail domain of tau-bench, opened by the folder of its data."""
