"""What can be seen of an episode: its steps, its replay."""
