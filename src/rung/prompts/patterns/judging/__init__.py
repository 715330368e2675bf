"""A model as judge: peer grading, and whether the grader can be trusted."""
