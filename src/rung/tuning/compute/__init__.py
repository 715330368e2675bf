"""A base laid out for training, and what a step computes."""
