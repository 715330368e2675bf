"""What an agent takes from one episode into the next."""
