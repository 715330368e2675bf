"""What most tasks should be compared with: no language model at all."""
