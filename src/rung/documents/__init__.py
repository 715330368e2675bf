"""Files of every kind as texts with their source: one file a format."""
