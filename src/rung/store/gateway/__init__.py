"""What a gateway keeps: keys, what was spent, uploaded files, batches, and results by key."""
