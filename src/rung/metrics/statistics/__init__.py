"""Over scores: intervals and tests, early stopping, A/B tests, ratings, which rung to choose."""
