"""What agents ask of people, and what they remember of them."""
