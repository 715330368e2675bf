"""What a server says of itself: metrics, spans, logs."""
