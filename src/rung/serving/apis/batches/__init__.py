"""Files and batches of requests."""
