"""Teams, workflows and agreement, from the command line."""
