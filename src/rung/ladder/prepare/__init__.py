"""Before a rung answers: what will be tried, what that will cost, and its fit."""
