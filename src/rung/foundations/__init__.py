"""The models before and beneath: programs that need no language model, and honest competitors to it."""
