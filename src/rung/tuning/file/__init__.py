"""tune.yaml, and what it says to train on."""
