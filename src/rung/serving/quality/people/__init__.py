"""What is done for and with people: moderation, answers in their own style, a question to them."""
