"""What is wished for: metrics as rewards, learnt rewards, and rewards that are harder to cheat."""
