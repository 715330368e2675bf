"""What is looked at before training and after it."""
