"""Russell and Norvig's five classes of agents (Artificial Intelligence, ch. 2), over a designer's knowledge of an
environment."""
