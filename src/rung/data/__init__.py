"""From raw sources to training rows: import, clean, profile, split, export."""
