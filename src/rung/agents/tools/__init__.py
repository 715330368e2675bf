"""What an agent may call, a file a tool. ``shelf`` lists them by name."""
