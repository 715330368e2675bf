"""What a registered part has: its name, options and folder, the place of its task, and the meter it runs under."""
