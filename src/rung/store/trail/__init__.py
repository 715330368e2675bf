"""Episodes of agents: their events, what they did once, and the payloads too large for a row."""
