"""Reading within bounds of time and memory."""
