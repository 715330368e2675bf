"""Studies of models by themselves: cases, what a tuning cost elsewhere, whether a judge agrees with people."""
